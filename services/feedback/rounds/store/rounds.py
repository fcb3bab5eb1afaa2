"""The rounds themselves: opened, held, counted and ended."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import asyncpg

from services.feedback.ballots.sealing import RoundKeys
from services.feedback.rounds.domain import Count, Ending, NotOpened, Round, RoundState, coarse_date
from shared.events import Bucket, Group, Practice
from shared.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class NewRound:
    """A round to insert, with the event that caused it; with its keys when it opens, else with the reason why not."""

    round: Round
    keys: RoundKeys | None
    not_opened: NotOpened | None
    caused_by: UUID
    caused_sequence: int


@dataclass(frozen=True, slots=True)
class LockedRound:
    """An open round whose row this transaction holds."""

    round: Round
    wrapped_key: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """How a round ended; `reason` only when it was withheld."""

    round_id: UUID
    state: RoundState
    reason: str | None
    closed_on: date


async def practices_asked(conn: Connection, subject_ids: Collection[UUID], since: date) -> dict[UUID, set[Practice]]:
    """What an open round about these people asks, or one asked that was released after `since`."""
    rows = await conn.fetch(
        """
        select subject_person_id, practices from rounds
        where subject_person_id = any($1::uuid[]) and (state = 'open' or (state = 'released' and closed_on > $2))
        """,
        list(subject_ids),
        since,
    )
    asked: dict[UUID, set[Practice]] = {subject_id: set() for subject_id in subject_ids}
    for row in rows:
        asked[row["subject_person_id"]] |= {Practice(practice) for practice in row["practices"]}
    return asked


async def record_endings(conn: Connection, endings: Mapping[tuple[UUID, str], int]) -> None:
    """Remember, by (enrolment, milestone or ''), the latest sequence at which it was undone or withdrawn."""
    await conn.execute(
        """
        insert into endings as e (enrolment_id, milestone, sequence)
        select * from unnest($1::uuid[], $2::text[], $3::bigint[])
        on conflict (enrolment_id, milestone) do update set sequence = greatest(e.sequence, excluded.sequence)
        """,
        [enrolment for enrolment, _ in endings],
        [milestone for _, milestone in endings],
        list(endings.values()),
    )


async def endings_of(conn: Connection, enrolment_ids: Collection[UUID]) -> dict[tuple[UUID, str], int]:
    rows = await conn.fetch(
        "select enrolment_id, milestone, sequence from endings where enrolment_id = any($1::uuid[])",
        list(enrolment_ids),
    )
    return {(row["enrolment_id"], row["milestone"]): row["sequence"] for row in rows}


async def keep_standing(conn: Connection, reached: Mapping[tuple[UUID, str], int]) -> set[tuple[UUID, str]]:
    """Which of these milestones, by (enrolment, milestone), have a round that is open or released.

    From now on it stands for the reaching with the given sequence, so that an undoing older than that, should it come
    later, does not take it back.
    """
    rows = await conn.fetch(
        """
        update rounds r set caused_sequence = greatest(r.caused_sequence, e.sequence)
        from unnest($1::uuid[], $2::text[], $3::bigint[]) as e(enrolment_id, milestone, sequence)
        where r.enrolment_id = e.enrolment_id and r.milestone = e.milestone and r.state <> 'withheld'
        returning r.enrolment_id, r.milestone
        """,
        [enrolment for enrolment, _ in reached],
        [milestone for _, milestone in reached],
        list(reached.values()),
    )
    return {(row["enrolment_id"], row["milestone"]) for row in rows}


async def insert_rounds(conn: Connection, new: Sequence[NewRound]) -> None:
    await conn.executemany(
        """
        insert into rounds (
            id, kind, subject_person_id, enrolment_id, milestone, cohort_id, programme_id, unit_id, practices, groups,
            instrument_version, k, opened_at, closes_at, public_key, wrapped_key, caused_by, caused_sequence,
            state, reason, closed_on
        ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
        """,
        [
            (
                one.round.id, one.round.kind, one.round.subject_person_id, one.round.enrolment_id, one.round.milestone,
                one.round.cohort_id, one.round.programme_id, one.round.unit_id, list(one.round.practices),
                list(one.round.groups), one.round.instrument_version, one.round.k, one.round.opened_at,
                one.round.closes_at, one.keys and one.keys.public, one.keys and one.keys.wrapped, one.caused_by,
                one.caused_sequence, RoundState.withheld if one.not_opened else RoundState.open, one.not_opened,
                coarse_date(one.round.opened_at) if one.not_opened else None,
            )
            for one in new
        ],
    )  # fmt: skip


async def lock_open(conn: Connection, ids: Collection[UUID]) -> list[LockedRound]:
    """Those of `ids` that are still open, held against answers until the transaction ends."""
    rows = await conn.fetch(
        "select * from rounds where id = any($1::uuid[]) and state = 'open' order by id for update", list(ids)
    )
    return [LockedRound(_round(row), row["wrapped_key"]) for row in rows]


async def lock_open_of_enrolments(conn: Connection, endings: Mapping[tuple[UUID, str], int]) -> list[LockedRound]:
    """Open rounds that one of these endings, as in `record_endings`, takes back."""
    rows = await conn.fetch(
        """
        select r.* from rounds r
        join unnest($1::uuid[], $2::text[], $3::bigint[]) as e(enrolment_id, milestone, sequence)
            on r.enrolment_id = e.enrolment_id and e.milestone in (r.milestone, '') and r.caused_sequence < e.sequence
        where r.state = 'open' order by r.id for update of r
        """,
        [enrolment for enrolment, _ in endings],
        [milestone for _, milestone in endings],
        list(endings.values()),
    )
    locked = {row["id"]: LockedRound(_round(row), row["wrapped_key"]) for row in rows}
    return list(locked.values())


async def lock_open_about(conn: Connection, person_ids: Collection[UUID]) -> list[LockedRound]:
    """Open rounds whose subject is one of these people."""
    rows = await conn.fetch(
        "select * from rounds where subject_person_id = any($1::uuid[]) and state = 'open' order by id for update",
        list(person_ids),
    )
    return [LockedRound(_round(row), row["wrapped_key"]) for row in rows]


async def standings(conn: Connection, ids: Collection[UUID]) -> list[tuple[Round, Count]]:
    """Where those of `ids` stand that are still open, and no longer than this transaction can they change state.

    Whether a link of somebody who left was used, no statement asks: which it is takes the link secret to know.
    """
    rows = await conn.fetch(
        """
        select r.*, l.used, l.waiting, exists (select from invited where round_id = r.id and revoked) as narrowed
        from rounds r
        cross join lateral (
            select count(*) filter (where state = 'used') as used, count(*) filter (where state = 'issued') as waiting
            from links where round_id = r.id
        ) l
        where r.id = any($1::uuid[]) and r.state = 'open' order by r.id for no key update of r
        """,
        list(ids),
    )
    return [(_round(row), Count(Bucket(row["bucket"]), row["used"], row["waiting"], row["narrowed"])) for row in rows]


async def announce_buckets(conn: Connection, buckets: Mapping[UUID, Bucket]) -> None:
    await conn.execute(
        "update rounds r set bucket = b.bucket from unnest($1::uuid[], $2::text[]) as b(id, bucket) where r.id = b.id",
        list(buckets),
        list(buckets.values()),
    )


async def finish(conn: Connection, finished: Sequence[Finished]) -> None:
    """End open rounds for good: the private key is gone with this."""
    await conn.execute(
        """
        update rounds r set state = f.state, reason = f.reason, closed_on = f.closed_on, wrapped_key = null
        from unnest($1::uuid[], $2::text[], $3::text[], $4::date[]) as f(id, state, reason, closed_on)
        where r.id = f.id
        """,
        [one.round_id for one in finished],
        [one.state for one in finished],
        [one.reason for one in finished],
        [one.closed_on for one in finished],
    )


async def take_ballots(conn: Connection, round_ids: Collection[UUID]) -> dict[UUID, list[bytes]]:
    """The sealed ballots of these rounds, deleted by reading them."""
    rows = await conn.fetch(
        "delete from ballots where round_id = any($1::uuid[]) returning round_id, sealed", list(round_ids)
    )
    taken: dict[UUID, list[bytes]] = {round_id: [] for round_id in round_ids}
    for row in rows:
        taken[row["round_id"]].append(row["sealed"])
    return taken


def ended(rounds: Iterable[LockedRound], ending: Ending, closed_on: date) -> list[Finished]:
    """Rows for `finish` where rounds end unread."""
    return [Finished(locked.round.id, RoundState.withheld, ending, closed_on) for locked in rounds]


def _round(row: asyncpg.Record) -> Round:
    return Round(
        id=row["id"],
        kind=row["kind"],
        subject_person_id=row["subject_person_id"],
        enrolment_id=row["enrolment_id"],
        milestone=row["milestone"],
        cohort_id=row["cohort_id"],
        programme_id=row["programme_id"],
        unit_id=row["unit_id"],
        practices=tuple(Practice(practice) for practice in row["practices"]),
        groups=tuple(Group(group) for group in row["groups"]),
        instrument_version=row["instrument_version"],
        k=row["k"],
        opened_at=row["opened_at"],
        closes_at=row["closes_at"],
    )
