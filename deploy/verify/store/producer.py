"""The topic against the outbox of the service that tells it: what is missing on Kafka, and what nobody told."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from deploy.verify.store.tables import STATEMENT_SECONDS, Absent, Connection, ForeignPlace

_AT_A_TIME = 5000
_SAMPLES = 10


@dataclass(frozen=True, slots=True)
class Counts:
    """One type, from its outbox to Kafka."""

    type: str
    published: int
    on_kafka: int
    repeated: int
    replaced: int
    expired: int
    missing: int
    missing_ids: list[UUID]
    too_old: int


class Stranger(NamedTuple):
    """A record that no outbox has written: where it is, what it says it is, and by what that is known."""

    partition: int
    offset: int
    type: str | None
    subject: str | None
    event_id: UUID | None
    why: str


async def clock(conn: Connection) -> datetime:
    """The database's: what it calls published by now is on Kafka already."""
    now: datetime = await conn.fetchval("select clock_timestamp()")
    return now


async def remember_outbox(conn: Connection, topic: str) -> datetime | None:
    """Set out the topic's rows beside its records, and say from when on none is missing; None: from the beginning.

    After the topic was read, so that whatever lies there has its row here, marked or not.
    """
    async with conn.transaction(isolation="repeatable_read"):
        await conn.execute(
            """
            insert into verify_outbox
            select id, type, key, subject, substring(headers from 'ce_sequence: ([0-9]+)$')::bigint, seq, compacted,
                   payload is null, (extract(epoch from created_at) * 1000)::bigint, published_at,
                   sha256(convert_to(length(headers) - length(replace(headers, e'\\n', '')) + 1 || e'\\n' || key
                                     || e'\\n' || headers || e'\\n', 'UTF8') || coalesce(payload, '\\x00'))
            from outbox where topic = $1
            """,
            topic,
            timeout=STATEMENT_SECONDS,
        )
        before: datetime | None = await conn.fetchval("select before from outbox_forgotten")
    await conn.execute("analyze verify_outbox")
    return before


async def find_foreign(conn: Connection, topic: str, before: datetime | None) -> None:
    """Note the records that the outbox did not write, and those too old for it to say.

    A record's time is its writer's to choose, so that alone decides nothing. Behind a record that is remembered stands
    nothing that was written earlier; an aggregate's sequence is counted for ever; and its facts are dropped oldest
    first.
    """
    await conn.execute(
        """
        insert into verify_foreign
        with since as (
            select l.partition, min(l."offset") as first from verify_log l
            join verify_outbox o on o.id = l.id and o.digest = l.digest where o.published_at >= $2 group by 1
        ), remembered as (
            select subject, min(sequence) as first from verify_outbox group by 1
        )
        select l.partition, l."offset", case
            when o.id is not null then 'other_content'
            when l.subject is not null and s.last is null then 'unknown_subject'
            when l.sequence > s.last then 'sequence_ahead'
            when $2::timestamptz is null or to_timestamp(l.at / 1000.0) >= $2 or l."offset" > since.first
                or l.sequence >= r.first then 'not_told'
            else 'too_old' end
        from verify_log l
        left join verify_outbox o on o.id = l.id
        left join outbox_sequences s on s.topic = $1 and s.subject = l.subject
        left join since on since.partition = l.partition
        left join remembered r on r.subject = l.subject
        where o.digest is distinct from l.digest
        """,
        topic,
        before,
        timeout=STATEMENT_SECONDS,
    )
    await conn.execute("analyze verify_foreign")


async def find_absent(conn: Connection, published_until: datetime, kept_since: float) -> None:
    """Note the published events that no record shows, and what excuses it.

    published_until: what was marked later may have come after the topic was read. kept_since: time (ms) before which
    records may be gone to retention.
    """
    await conn.execute(
        """
        insert into verify_absent
        with told as (
            select * from verify_outbox where published_at <= $1
        ), newest as ( -- of each key it stays; a tombstone goes too, when everybody has had time to see it
            select type, key, max(seq) as seq from told where compacted group by 1, 2
        )
        select t.id, t.type, t.at, case
            when t.compacted then case when t.seq < n.seq or t.is_tombstone then 'replaced' else 'missing' end
            when t.at < $2 then 'expired' else 'missing' end
        from told t left join newest n on n.type = t.type and n.key = t.key
        where not exists (select from verify_log l where l.id = t.id and l.digest = t.digest and not l.fault)
        """,
        published_until,
        kept_since,
        timeout=STATEMENT_SECONDS,
    )
    await conn.execute("analyze verify_absent")


async def counts(conn: Connection) -> list[Counts]:
    """By type: of events, those that the outbox told and those that lie there, where nothing speaks against them."""
    rows = await conn.fetch(
        """
        with there as (
            select l.type, l.id, count(*) as records, bool_or(f.why = 'too_old') as too_old
            from verify_log l left join verify_foreign f using (partition, "offset")
            where not l.fault and coalesce(f.why, 'too_old') = 'too_old' group by 1, 2
        ), on_kafka as (
            select type, count(*) as events, sum(records) - count(*) as repeated, count(*) filter (where too_old) as old
            from there group by 1
        ), absent as (
            select type, count(*) as events, count(*) filter (where fate = 'replaced') as replaced,
                   count(*) filter (where fate = 'expired') as expired,
                   count(*) filter (where fate = 'missing') as missing,
                   coalesce((array_agg(id order by id) filter (where fate = 'missing'))[:$1], '{}') as missing_ids
            from verify_absent group by 1
        )
        select type, coalesce(k.events, 0) + coalesce(a.events, 0) as published, coalesce(k.events, 0) as on_kafka,
               coalesce(k.repeated, 0)::bigint as repeated, coalesce(a.replaced, 0) as replaced,
               coalesce(a.expired, 0) as expired, coalesce(a.missing, 0) as missing,
               coalesce(a.missing_ids, '{}') as missing_ids, coalesce(k.old, 0) as too_old
        from on_kafka k full join absent a using (type) order by type
        """,
        _SAMPLES,
        timeout=STATEMENT_SECONDS,
    )
    return [Counts(**row) for row in rows]


async def foreign_counts(conn: Connection) -> dict[str | None, int]:
    """How many foreign records say that they are of which type."""
    rows = await conn.fetch(
        """
        select l.type, count(*) as records from verify_foreign f join verify_log l using (partition, "offset")
        where f.why <> 'too_old' group by 1
        """,
        timeout=STATEMENT_SECONDS,
    )
    return {row["type"]: row["records"] for row in rows}


async def strangers(conn: Connection, most: int) -> list[Stranger]:
    """The first foreign records of the topic."""
    rows = await conn.fetch(
        """
        select f.partition, f."offset", l.type, l.subject, l.id as event_id, f.why
        from verify_foreign f join verify_log l using (partition, "offset")
        where f.why <> 'too_old' order by 1, 2 limit $1
        """,
        most,
    )
    return [Stranger(*row) for row in rows]


async def all_foreign(conn: Connection) -> AsyncIterator[list[ForeignPlace]]:
    """Some at a time."""
    async with conn.transaction():
        cursor = await conn.cursor("select partition, \"offset\", why from verify_foreign where why <> 'too_old'")
        while rows := await cursor.fetch(_AT_A_TIME):
            yield [ForeignPlace(*row) for row in rows]


async def all_absent(conn: Connection) -> AsyncIterator[list[Absent]]:
    """Some at a time."""
    async with conn.transaction():
        cursor = await conn.cursor("select id, type, at, fate from verify_absent")
        while rows := await cursor.fetch(_AT_A_TIME):
            yield [Absent(*row) for row in rows]
