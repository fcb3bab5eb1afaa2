"""The inbox makes handling exactly once in effect (ADR 0003).

The id of an event, per handler, is stored in the transaction of its effects, so a second delivery finds it there and
does nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from shared.events.envelope import SequenceJumpError
from shared.messaging.handler import Handler, Received, Rejected
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction

log = structlog.get_logger(__name__)

MAX_SEQUENCE_STEP = 10_000
"""How far a state may lie above the one applied before it. A producer counts by one; what lies between may be gone from
a compacted topic, or come later than a database that was restored. An HR platform that said something new of a person
at every synchronisation (some do it each 40 minutes) would come so far in nine months, a consumer being away."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """Events that were not handled before, in their order, and those of them that jump."""

    fresh: list[Received[Any]]
    rejected: list[Rejected]


async def admit(
    conn: Connection, handler: Handler, events: Sequence[Received[Any]], *, however_old: bool = False
) -> Admitted:
    """Record these ids as handled and return the events that were not handled before, in their order.

    An event older than what the handler remembers counts as handled: a topic that is read again from its beginning,
    years back, must not have its effects again. A state is known by its sequence, however old; and what a person has
    replayed (`however_old`) was set aside, not handled.

    Raises asyncpg.SerializationError when another worker is about to commit one of them: try the batch again.
    """
    first: dict[UUID, Received[Any]] = {}
    for event in events:  # the same record twice in one batch: its first place counts
        first.setdefault(event.id, event)
    try:
        # Looked up before they are written: ON CONFLICT took twice as long. One subquery each, since a join would be
        # planned once, for the small table that the inbox was then.
        known, forgotten = await conn.fetchrow(
            """
            with given as materialized (
                select id, (select event_id from inbox where event_id = id and handler = $1) as known,
                       $4 and told_at < (select before from inbox_forgotten where handler = $1) as forgotten
                from unnest($2::uuid[], $3::timestamptz[]) as t(id, told_at)
            ), admitted as (
                insert into inbox (handler, event_id)
                select $1, id from given where known is null and forgotten is not true
            )
            select array_agg(id) filter (where known is not null),
                   array_agg(id) filter (where known is null and forgotten)
            from given
            """,
            handler.name, list(first), [event.time for event in first.values()],
            handler.mode == "every_fact" and not however_old,
        ) or (None, None)  # fmt: skip
    except asyncpg.UniqueViolationError as error:
        raise asyncpg.SerializationError("another worker is handling these events") from error
    if forgotten:
        log.warning("older than this handler remembers: taken as handled", handler=handler.name, events=len(forgotten))
    for id_ in (*(known or ()), *(forgotten or ())):
        del first[id_]
    fresh = list(first.values())
    if handler.mode != "latest_state":
        return Admitted(fresh, [])
    rejected = await _sequence_jumps(conn, handler, fresh)
    gone = {each.event_id for each in rejected}
    return Admitted(await _newest(conn, handler, [event for event in fresh if event.id not in gone]), rejected)


async def admit_again(conn: Connection, handler: Handler, events: Sequence[Received[Any]]) -> Admitted:
    """For a replay: what was handled counts as fresh, of states only the newest; what was set aside stays there."""
    events = list({event.id: event for event in reversed(events)}.values())[::-1]
    aside = {
        row["event_id"]
        for row in await conn.fetch(
            """
            select event_id from inbox
            where handler = $1 and event_id = any($2::uuid[]) and outcome in ('parked', 'dead')
            """,
            handler.name, [event.id for event in events],
        )
    }  # fmt: skip
    fresh = [event for event in events if event.id not in aside]
    await conn.execute(
        """
        insert into inbox as i (handler, event_id) select $1, * from unnest($2::uuid[])
        on conflict (event_id, handler) do update set outcome = 'applied' where i.outcome <> 'applied'
        """,
        handler.name, [event.id for event in fresh],
    )  # fmt: skip
    return Admitted(await _newest(conn, handler, fresh, again=True) if handler.mode == "latest_state" else fresh, [])


async def _sequence_jumps(conn: Connection, handler: Handler, events: Sequence[Received[Any]]) -> list[Rejected]:
    """Those that are further from what was applied to their aggregate, or from one another, than any producer goes."""
    if all(event.sequence <= MAX_SEQUENCE_STEP for event in events):
        return []  # nearly always: it is no jump from nothing, and so from nowhere
    known = await _applied_sequences(conn, handler, {event.subject for event in events})
    rejected = []
    for event in sorted(events, key=lambda event: event.sequence):
        reached = known.get(event.subject)
        if is_sequence_jump(reached, event.sequence):
            rejected.append(Rejected(event.id, SequenceJumpError.reason, f"ce_sequence is {_jump_detail(reached)}"))
        else:
            known[event.subject] = max(reached or 0, event.sequence)
    return rejected


def is_sequence_jump(reached: int | None, sequence: int) -> bool:
    """Whether no producer comes from the one sequence to the other; None: nothing of the aggregate was applied yet."""
    return reached is not None and sequence > reached + MAX_SEQUENCE_STEP


def _jump_detail(reached: int | None) -> str:
    return f"more than {MAX_SEQUENCE_STEP} above {reached}, the newest that was applied"


async def _applied_sequences(conn: Connection, handler: Handler, subjects: Collection[str]) -> dict[str, int]:
    rows = await conn.fetch(
        "select subject, sequence from inbox_latest where handler = $1 and subject = any($2::text[])",
        handler.name, list(subjects),
    )  # fmt: skip
    return {row["subject"]: row["sequence"] for row in rows}


async def _newest(
    conn: Connection, handler: Handler, events: Sequence[Received[Any]], *, again: bool = False
) -> list[Received[Any]]:
    """Of each aggregate only the newest state, and only if newer than what was applied; mark the rest superseded."""
    newest: dict[str, Received[Any]] = {}
    if not events:
        return []
    for event in events:
        if event.subject not in newest or newest[event.subject].sequence < event.sequence:
            newest[event.subject] = event
    rows = await conn.fetch(
        """
        insert into inbox_latest as l (handler, subject, sequence)
        select $1, subject, sequence from unnest($2::text[], $3::bigint[]) as t(subject, sequence) order by subject
        on conflict (handler, subject) do update set sequence = excluded.sequence
            where l.sequence < excluded.sequence or $4 and l.sequence = excluded.sequence
        returning subject
        """,
        handler.name,
        list(newest),
        [event.sequence for event in newest.values()],
        again,
    )
    accepted = {newest[row["subject"]].id for row in rows}
    superseded = [event.id for event in events if event.id not in accepted]
    if superseded:
        await mark(conn, handler.name, superseded, "superseded")
    return [event for event in events if event.id in accepted]


async def is_superseded(conn: Connection, handler: Handler, event: Received[Any]) -> bool:
    """Whether a newer state was applied while this one was set aside; keeps the answer true until commit.

    Raises SequenceJumpError for one that jumps: what was refused is not made true by a replay.
    """
    if handler.mode != "latest_state":
        return False
    newest: int | None = await conn.fetchval(
        "select sequence from inbox_latest where handler = $1 and subject = $2 for update", handler.name, event.subject
    )
    if is_sequence_jump(newest, event.sequence):
        raise SequenceJumpError(f"ce_sequence is {_jump_detail(newest)}")
    if newest is None or newest < event.sequence:  # it was refused when it came, and others have come up to it since
        await conn.execute(
            """
            insert into inbox_latest (handler, subject, sequence) values ($1, $2, $3)
            on conflict (handler, subject) do update set sequence = excluded.sequence
            """,
            handler.name, event.subject, event.sequence,
        )  # fmt: skip
    return newest is not None and newest > event.sequence


async def mark(conn: Connection, handler: str, event_ids: Sequence[UUID], outcome: str) -> None:
    """Say what became of these ids: applied, superseded, parked or dead."""
    await conn.execute(
        "update inbox set outcome = $3 where handler = $1 and event_id = any($2::uuid[])", handler, event_ids, outcome
    )


async def forget_before(pool: Pool, moment: datetime, *, chunk: int = 10_000) -> None:
    """Drop ids handled before `moment`, `chunk` to a transaction, and keep from when on each handler remembers."""
    dropped = chunk
    while dropped == chunk:
        async with transaction(pool) as conn:
            status = await conn.execute(
                """
                with dropped as (
                    delete from inbox where ctid = any(array(
                        select ctid from inbox where handled_at < $1 and outcome in ('applied', 'superseded') limit $2))
                    returning handler
                ), noted as (
                    insert into inbox_forgotten select distinct handler, $1::timestamptz from dropped
                    on conflict (handler) do update set before = greatest(inbox_forgotten.before, excluded.before)
                )
                select from dropped
                """,
                moment, chunk,
            )  # fmt: skip
        dropped = int(status.split()[-1])
