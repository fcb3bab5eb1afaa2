"""What the services' databases say. Nothing is written."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import asyncpg

from shared.inbox import Handler

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

_COLUMN = re.compile(r"[a-z_]+\.[a-z_]+")


class Published(NamedTuple):
    """An outbox row that the broker has acknowledged."""

    id: UUID
    type: str
    key: str
    is_tombstone: bool
    created_ms: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a service still has to do, and in which life of the broker its relay and consumer work."""

    unpublished: int
    parked_due: int
    timers_due: int
    relay_epoch: UUID | None
    consumer_epoch: UUID | None


class Again(NamedTuple):
    """An event told more than once: same cause, type, subject and content."""

    caused_by: UUID
    type: str
    subject: str
    times: int


@dataclass(frozen=True, slots=True)
class Account:
    """What a consumer says of what it got.

    outcomes: by handler and event. aside: state of what was set aside, by handler and event; buried: places of records
    set aside for no handler in particular, such as those it could not decode. effects: by handler, causes with more
    than one effect, and how many.
    """

    outcomes: dict[str, dict[UUID, str]]
    aside: dict[tuple[str, UUID], str]
    buried: set[tuple[str, int, int]]
    effects: dict[str, dict[UUID, int]]
    told_again: list[Again]
    skipped: dict[str, int]


async def backlog(conn: Connection, timers: Collection[str], now: datetime) -> Backlog:
    """What is due by `now`, the deployment's time; of timers, these kinds. A parked record counts a little earlier."""
    row = await conn.fetchrow(
        """
        select (select count(*) from outbox where published_at is null) as unpublished,
               (select count(*) from set_aside where state = 'parked'
                       and retry_at <= $1::timestamptz + interval '5 seconds') as parked_due,
               (select count(*) from timers where due_at <= $1 and kind = any($2::text[])) as timers_due,
               (select epoch from broker_epoch where role = 'relay') as relay_epoch,
               (select epoch from broker_epoch where role = 'consumer') as consumer_epoch
        """,
        now,
        list(timers),
    )
    assert row is not None  # noqa: S101 - a select without from gives one row
    return Backlog(**row)


async def published(conn: Connection, topics: Sequence[str]) -> list[Published]:
    """Oldest first, as far back as the outbox is kept."""
    rows = await conn.fetch(
        """
        select id, type, key, payload is null as is_tombstone,
               (extract(epoch from created_at) * 1000)::bigint as created_ms
        from outbox where published_at is not null and topic = any($1::text[]) order by seq
        """,
        topics,
    )
    return [Published(*row) for row in rows]


async def account(conn: Connection, service: str, handlers: Sequence[Handler], epoch: UUID) -> Account:
    """In one snapshot, so that a parked record is seen in both tables or in none."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        aside = await conn.fetch(
            "select handler, event_id, state from set_aside where consumer = $1 and handler is not null", service
        )
        buried = await conn.fetch(
            'select topic, partition, "offset" from set_aside where consumer = $1 and handler is null and epoch = $2',
            service,
            epoch,
        )
        return Account(
            outcomes=await _outcomes(conn, [handler.name for handler in handlers]),
            aside={(row["handler"], row["event_id"]): row["state"] for row in aside},
            buried={(row["topic"], row["partition"], row["offset"]) for row in buried},
            effects={each.name: await _doubled_effects(conn, each.effect) for each in handlers if each.effect},
            told_again=await _told_again(conn),
            skipped=await _skipped(conn, service),
        )


async def _outcomes(conn: Connection, handlers: Sequence[str]) -> dict[str, dict[UUID, str]]:
    # All handlers at once: the inbox is kept by event, so that each question about it reads the whole of it.
    rows = await conn.fetch(
        "select handler, outcome, array_agg(event_id) as events from inbox where handler = any($1::text[]) "
        "group by handler, outcome",
        handlers,
    )
    outcomes: dict[str, dict[UUID, str]] = {name: {} for name in handlers}
    for row in rows:
        outcomes[row["handler"]] |= dict.fromkeys(row["events"], row["outcome"])
    return outcomes


async def _doubled_effects(conn: Connection, effect: str) -> dict[UUID, int]:
    if not _COLUMN.fullmatch(effect):
        raise ValueError(f"a handler's effect is table.column, not {effect}")
    table, column = effect.split(".")
    rows = await conn.fetch(
        f"select {column} as cause, count(*) as times from {table} where {column} is not null "  # noqa: S608 - names
        f"group by {column} having count(*) > 1"
    )
    return {row["cause"]: row["times"] for row in rows}


async def _told_again(conn: Connection) -> list[Again]:
    # The content is compared too: a notification may well be deferred twice, each time to another moment.
    rows = await conn.fetch(
        """
        select caused_by, type, subject, count(*) as times from outbox where caused_by is not null
        group by caused_by, type, subject, md5(payload) having count(*) > 1
        """
    )
    return [Again(*row) for row in rows]


async def _skipped(conn: Connection, service: str) -> dict[str, int]:
    rows = await conn.fetch("select type, records from inbox_skipped where consumer = $1 order by type", service)
    return {row["type"]: row["records"] for row in rows}
