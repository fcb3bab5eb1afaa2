"""The temporary tables of one session: what lies on a topic, beside the service's own tables.

One topic at a time, so that they grow with the largest topic, on the disk of the database, and nothing grows here.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import asyncpg

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

STATEMENT_SECONDS = 1800.0  # a year's topic is compared with its outbox in one statement


class LogEntry(NamedTuple):
    """One record on Kafka. What cannot be decoded is a fault; id and type are told as far as its headers are sound.

    at: its time (ms), which whoever wrote it chose. digest: of key, headers and value, as the outbox has them.
    """

    id: UUID | None
    type: str | None
    subject: str | None
    sequence: int | None
    partition: int
    offset: int
    at: int
    digest: bytes
    fault: bool


class Absent(NamedTuple):
    """A published event without a record on Kafka. Replaced: by a newer state. Expired: older than the topic keeps."""

    id: UUID
    type: str
    at: int
    fate: str


class ForeignPlace(NamedTuple):
    """Where a record lies that no outbox has written, and by what that is known."""

    partition: int
    offset: int
    why: str


async def make_tables(conn: Connection) -> None:
    """Make them, empty. They go with the session."""
    await conn.execute(
        """
        -- every record of the topic
        create temporary table if not exists verify_log (
            id uuid, type text, subject text, sequence bigint, partition int not null, "offset" bigint not null,
            at bigint not null, digest bytea not null, fault boolean not null);
        -- places of those that no outbox has written, and by what that is known
        create temporary table if not exists verify_foreign (
            partition int not null, "offset" bigint not null, why text);
        -- of the producer: its outbox
        create temporary table if not exists verify_outbox (
            id uuid not null, type text not null, key text not null, subject text not null, sequence bigint,
            seq bigint not null, compacted boolean not null, is_tombstone boolean not null, at bigint not null,
            published_at timestamptz, digest bytea not null);
        create temporary table if not exists verify_absent (
            id uuid not null, type text not null, at bigint not null, fate text not null);
        -- of a consumer: what its handlers should have had, once each
        create temporary table if not exists verify_events (
            id uuid not null, type text not null, partition int, "offset" bigint, at bigint not null, fate text);
        """
    )
    await empty_tables(conn)


async def empty_tables(conn: Connection) -> None:
    """For the next topic."""
    await conn.execute("truncate verify_log, verify_foreign, verify_outbox, verify_absent, verify_events")


async def add_entries(conn: Connection, entries: Sequence[LogEntry]) -> None:
    """These records are on the topic too."""
    await conn.copy_records_to_table("verify_log", records=entries, columns=LogEntry._fields)


async def add_foreign(conn: Connection, records: Sequence[ForeignPlace]) -> None:
    """The records in these places are nobody's."""
    await conn.copy_records_to_table("verify_foreign", records=records, columns=ForeignPlace._fields)


async def add_absent(conn: Connection, events: Sequence[Absent]) -> None:
    """These events were published too, although no record shows it."""
    await conn.copy_records_to_table("verify_absent", records=events, columns=Absent._fields)


async def log_is_complete(conn: Connection) -> None:
    """All of the topic has been read: let the planner know how much it is."""
    await conn.execute("analyze verify_log")
