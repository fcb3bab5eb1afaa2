"""Every SQL statement on rounds as their subject sees them."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import asyncpg

from services.feedback.rounds.domain import RoundState
from shared.events import Bucket, Group, Practice
from shared.http.pagination import Page, fetch_page
from shared.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class OwnRound:
    """A round as the person it is about may see it."""

    id: UUID
    milestone: str
    practices: tuple[Practice, ...]
    groups: tuple[Group, ...]
    k: int
    state: RoundState
    reason: str | None
    bucket: Bucket
    opened_at: datetime
    closes_at: datetime
    closed_on: date | None
    instrument_version: int


async def round_of_subject(conn: Connection, round_id: UUID, person_id: UUID) -> OwnRound | None:
    """The round, if it is about this person."""
    row = await conn.fetchrow("select * from rounds where id = $1 and subject_person_id = $2", round_id, person_id)
    return _own(row) if row else None


async def rounds_of_subject(conn: Connection, person_id: UUID, *, before: UUID | None, limit: int) -> Page[OwnRound]:
    """Rounds about this person, newest first (ids sort by time), older than `before`."""
    return await fetch_page(
        conn,
        """
        select * from rounds where subject_person_id = $1 and ($2::uuid is null or id < $2)
        order by id desc limit $3
        """,
        person_id,
        before,
        limit=limit,
        item=_own,
    )


def _own(row: asyncpg.Record) -> OwnRound:
    return OwnRound(
        id=row["id"],
        milestone=row["milestone"],
        practices=tuple(Practice(practice) for practice in row["practices"]),
        groups=tuple(Group(group) for group in row["groups"]),
        k=row["k"],
        state=RoundState(row["state"]),
        reason=row["reason"],
        bucket=Bucket(row["bucket"]),
        opened_at=row["opened_at"],
        closes_at=row["closes_at"],
        closed_on=row["closed_on"],
        instrument_version=row["instrument_version"],
    )
