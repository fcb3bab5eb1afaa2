"""Publishing: a change and its events commit together (ADR 0002); the relay takes them to Kafka."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any, NamedTuple, Protocol, Self
from uuid import UUID

from opentelemetry.context import Context

from shared.events.envelope import header_lines
from shared.events.event import Event
from shared.ids import new_id
from shared.observability.tracing import correlation_id, traceparent_of
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction, will_publish

# Kafka refuses records above 1 MB by default; one such row would stop the relay for everybody behind it.
MAX_PAYLOAD_BYTES = 900_000


class Cause(Protocol):
    """What an event was caused by: one being handled (`Received`), or what a row remembers of it."""

    @property
    def id(self) -> UUID: ...
    @property
    def correlation_id(self) -> str: ...
    @property
    def context(self) -> Context: ...


@dataclass(frozen=True, slots=True)
class UndisclosedCause:
    """A cause that the outbox alone knows: what is published names none, and carries this correlation and trace.

    For what must not be joined in public with what led to it.
    """

    id: UUID
    correlation_id: str
    context: Context


class EventTooLargeError(ValueError):
    """An event's JSON is larger than a Kafka record may be; split the fact or keep the bulk out of it."""


async def add(conn: Connection, *events: Event, now: datetime, cause: Cause | None = None) -> None:
    """Announce `events` when the caller's transaction commits.

    `now` becomes ce_time. `cause` is the event being handled, if any: the new ones carry its id as ce_causationid,
    share its correlation and continue its trace, unless it is `UndisclosedCause`. Raises EventTooLargeError.
    """
    await add_caused(conn, [(event, cause) for event in events], now=now)


async def add_caused(conn: Connection, pairs: Iterable[tuple[Event, Cause | None]], *, now: datetime) -> None:
    """The same for many events, each with its own cause, in one round trip."""
    origin = _Origin.of(None)
    rows = [_row(event, cause, origin if cause is None else _Origin.of(cause), now) for event, cause in pairs]
    if rows:
        await _insert(conn, rows)
        will_publish()


async def add_tombstones(
    conn: Connection, event_type: type[Event], keys: Sequence[str], *, now: datetime, cause: Cause | None = None
) -> None:
    """Announce that these keys of a compacted topic are gone: records with the type's headers and no value."""
    origin = _Origin.of(cause)
    rows = [_tombstone(event_type, key, cause, origin, now) for key in keys]
    if rows:
        await _insert(conn, rows)
        will_publish()


Row = tuple[UUID, str, str, str, str, UUID | None, str, bytes | None, bool]
"""An event ready to be stored: id, topic, key, subject, type, cause, headers, payload, and whether it is compacted."""
_COLUMNS = ("id", "topic", "key", "subject", "type", "caused_by", "headers", "payload", "compacted")


def encode(events: Iterable[Event], *, now: datetime) -> list[Row]:
    """What `add_encoded` takes, of events without a cause. Takes time, and may run beside the database."""
    origin = _Origin.of(None)
    return [_row(event, None, origin, now) for event in events]


async def add_encoded(conn: Connection, rows: Sequence[Row]) -> None:
    """As `add`, by COPY: for many thousand events, of which it takes half the time."""
    if not rows:
        return
    counted = Counter((row[1], row[3]) for row in rows)
    bumped = await conn.fetch(
        f"""
        with counted as (select * from unnest($1::text[], $2::text[], $3::bigint[]) t(topic, subject, events))
        {_BUMP}
        """,  # noqa: S608 - a constant of this module
        [topic for topic, _ in counted],
        [subject for _, subject in counted],
        list(counted.values()),
    )
    sequences = {(topic, subject): count(last - counted[topic, subject] + 1) for topic, subject, last in bumped}
    await conn.copy_records_to_table(
        "outbox",
        records=[(*row[:6], f"{row[6]}\nce_sequence: {next(sequences[row[1], row[3]])}", *row[7:]) for row in rows],
        columns=_COLUMNS,
    )
    will_publish()


class _Origin(NamedTuple):
    """What an event's headers say of where it comes from."""

    correlation_id: str | None
    causation_id: UUID | None
    traceparent: str | None
    tracestate: str | None

    @classmethod
    def of(cls, cause: Cause | None) -> Self:
        """From its cause; without one, from where the code that announces it runs."""
        if cause is None:
            return cls(correlation_id(), None, *traceparent_of(None))
        told = None if isinstance(cause, UndisclosedCause) else cause.id
        return cls(cause.correlation_id, told, *traceparent_of(cause.context))


def _row(event: Event, cause: Cause | None, origin: _Origin, now: datetime) -> Row:
    payload = event.encode()
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise EventTooLargeError(f"{event.type} {event.subject}: {len(payload)} bytes, at most {MAX_PAYLOAD_BYTES}")
    event_id, subject = new_id(), event.subject
    key = subject if event.key_field == event.subject_field else event.key
    headers = _headers(type(event), event_id, subject, now, origin, unit=event.unit, programme=event.programme)
    caused_by = cause.id if cause else None
    return event_id, event.topic, key, subject, event.type, caused_by, headers, payload, event.compacted


def _tombstone(event_type: type[Event], key: str, cause: Cause | None, origin: _Origin, now: datetime) -> Row:
    event_id = new_id()
    headers = _headers(event_type, event_id, key, now, origin)
    return event_id, event_type.topic, key, key, event_type.type, cause.id if cause else None, headers, None, True


def _headers(
    event_type: type[Event], event_id: UUID, subject: str, now: datetime, origin: _Origin,
    *, unit: UUID | None = None, programme: UUID | None = None,
) -> str:  # fmt: skip
    return header_lines(
        event_type, id=event_id, subject=subject, time=now, unit=unit, programme=programme,
        correlation_id=origin.correlation_id or str(event_id), causation_id=origin.causation_id,
        traceparent=origin.traceparent, tracestate=origin.tracestate,
    )  # fmt: skip


# Takes the aggregates' row locks, in one order against deadlocks, before any outbox row gets its number: so an
# aggregate's rows are numbered, sequenced and committed in one and the same order.
_BUMP = """
    insert into outbox_sequences as s (topic, subject, last)
    select topic, subject, events from counted order by topic, subject
    on conflict (topic, subject) do update set last = s.last + excluded.last
    returning topic, subject, last
"""


async def _insert(conn: Connection, rows: Sequence[Row]) -> None:
    await conn.execute(
        f"""
        with input as (
            select * from unnest(
                $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::bytea[],
                $9::bool[]
            ) with ordinality as t(id, topic, key, subject, type, caused_by, headers, payload, compacted, nth)
        ), counted as (
            select topic, subject, count(*) as events from input group by topic, subject
        ), bump as ({_BUMP})
        insert into outbox (id, topic, key, subject, type, caused_by, headers, payload, compacted)
        select i.id, i.topic, i.key, i.subject, i.type, i.caused_by,
               i.headers || e'\\nce_sequence: ' || (b.last - c.events + row_number() over (
                   partition by i.topic, i.subject order by i.nth)),
               i.payload, i.compacted
        from input i join bump b using (topic, subject) join counted c using (topic, subject)
        order by i.nth
        """,  # noqa: S608 - a constant of this module
        *([list(column) for column in zip(*rows, strict=True)]),
    )


async def prune(pool: Pool, published_before: datetime, *, chunk: int = 10_000) -> None:
    """Drop rows published before that moment, but of compacted topics never the newest of a key: it is the refill.

    From when on all is kept stands in `outbox_forgotten`: what was told before, nobody can tell from a forgery.
    Walks the table from its oldest row, `chunk` rows to a transaction, so that a long backlog of old rows neither runs
    into the statement timeout nor holds its locks for long.
    """
    done: int | None = 0
    while done is not None:
        async with transaction(pool) as conn:
            done = await _prune_after(conn, done, published_before, chunk)


async def _prune_after(conn: Connection, start: int, published_before: datetime, rows: int) -> int | None:
    # By seq, since no index knows when a row was published, and one more would have to be kept by every mark. Rows
    # further on were made later: from where all are too young to have been published by then, there is nothing to drop.
    end: int | None = await conn.fetchval(
        """
        select max(seq) from (select seq, created_at from outbox where seq > $1 order by seq limit $2) as next
        having min(created_at) < $3
        """,
        start, rows, published_before,
    )  # fmt: skip
    if end is None:
        return None
    await conn.execute(
        """
        with dropped as (
            delete from outbox o where seq > $1 and seq <= $2 and published_at < $3 and (
                not compacted or exists (
                    select from outbox n where n.compacted and n.topic = o.topic and n.key = o.key and n.seq > o.seq))
            returning seq
        )
        insert into outbox_forgotten (before) select $3::timestamptz where exists (select from dropped)
        on conflict (only_row) do update set before = greatest(outbox_forgotten.before, excluded.before)
        """,
        start, end, published_before,
    )  # fmt: skip
    return end


async def outbox_backlog(conn: Connection) -> dict[str, Any]:
    """How many events wait to be published, and for how many seconds the oldest has."""
    # A backlog can be long; whether it is long is all that matters here, so counting stops at 10,000.
    row = await conn.fetchrow(
        """
        select count(*) as waiting, coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0) as seconds
        from (select created_at from outbox where published_at is null order by seq limit 10000) as backlog
        """
    )
    assert row is not None  # noqa: S101 - an aggregate without grouping has one row
    return {"waiting": row["waiting"], "oldest_seconds": round(float(row["seconds"]), 1)}
