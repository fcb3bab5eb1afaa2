"""The topic against the inbox, the dead letters and the effects of a service that takes it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from deploy.verify.store.producer import Stranger
from deploy.verify.store.tables import STATEMENT_SECONDS, Connection
from shared.messaging.handler import Handler

_SAMPLES = 10
_EFFECT = re.compile(r"[a-z_]+\.[a-z_]+(/[a-z_]+)*")


class Reader(NamedTuple):
    """Who is asked: a consumer in one life of the broker, about one topic."""

    consumer: str
    epoch: UUID
    topic: str


@dataclass(frozen=True, slots=True)
class HandlerOutcome:
    """What became of one type's events at one handler; every one is in exactly one of the six."""

    type: str
    handler: str
    published: int
    applied: int
    superseded: int
    parked: int
    dead: int
    waiting: int
    lost: int
    lost_ids: list[UUID]


@dataclass(frozen=True, slots=True)
class Faults:
    """Records that nobody can decode: each must be a dead letter."""

    published: int
    dead: int
    waiting: int
    lost: int
    lost_places: list[str]


@dataclass(frozen=True, slots=True)
class Doubled:
    """Effects of one handler that are one too many, by the type of what caused them; None: not of this topic."""

    type: str | None
    too_many: int
    causes: list[UUID]


async def expect_events(conn: Connection, types: Sequence[str]) -> None:
    """Set out what handlers of these types should have had: what lies there and is not foreign, and what is absent."""
    await conn.execute(
        """
        insert into verify_events
        select distinct on (l.id) l.id, l.type, l.partition, l."offset", l.at, null
        from verify_log l left join verify_foreign f using (partition, "offset")
        where not l.fault and coalesce(f.why, 'too_old') = 'too_old' and l.type = any($1::text[])
        order by l.id, l.partition, l."offset"
        """,
        types,
        timeout=STATEMENT_SECONDS,
    )
    await conn.execute(
        """
        insert into verify_events (id, type, at, fate)
        select id, type, at, fate from verify_absent where type = any($1::text[])
        """,
        types,
        timeout=STATEMENT_SECONDS,
    )
    await conn.execute("analyze verify_events")


async def outcomes(
    conn: Connection, reader: Reader, subscribed: Sequence[tuple[str, str, bool]], remembered_since: float
) -> list[HandlerOutcome]:
    """By type and handler, of these; with them comes whether they begin now. In one statement, and so in one snapshot.

    Each from its own start: what a handler is still to be given of what its service has read is waiting, not lost.

    Of what was told before `remembered_since` (ms) inboxes may have dropped the id: that nobody knows it says nothing.
    """
    rows = await conn.fetch(
        """
        with aside as (
            select handler, event_id, bool_or(state = 'parked') as parked from set_aside
            where consumer = $1 and handler is not null and event_id is not null group by 1, 2
        ), dead as (
            select partition, "offset" from set_aside
            where consumer = $1 and epoch = $2 and topic = $3 and handler is null
        ), reached as (
            select handler, type, partition, reached from handler_reached
            where consumer = $1 and epoch = $2 and topic = $3
        ), lacking as (
            select handler, type, partition, next_offset, until_offset from handler_catch_up
            where consumer = $1 and epoch = $2 and topic = $3 and next_offset < until_offset
        ), takers as (
            select t.*, extract(epoch from case when t.begins_now and p.handler is null then now() else p.begins_at end)
                   * 1000::float8 as begins
            from unnest($4::text[], $5::text[], $8::boolean[]) as t(type, handler, begins_now)
            left join handler_pairs p on p.consumer = $1 and p.handler = t.handler and p.type = t.type
        ), judged as (
            select e.type, h.handler, e.id, case
                when i.outcome = 'applied' then 'applied'
                when i.outcome = 'superseded' or (i.outcome is null and e.fate = 'replaced') then 'superseded'
                when i.outcome is not null and a.parked then 'parked'
                when i.outcome is not null and a.event_id is not null then 'dead'
                when i.outcome is null and e."offset" >= coalesce(r.reached, 0) then 'waiting'
                when i.outcome is null and c.handler is not null then 'waiting'
                when i.outcome is null and b.partition is not null then 'dead' -- refused for no handler in particular
                else 'lost' end as fate
            from verify_events e
            join takers h on h.type = e.type
            left join inbox i on i.event_id = e.id and i.handler = h.handler
            left join aside a on a.event_id = e.id and a.handler = h.handler
            left join dead b on b.partition = e.partition and b."offset" = e."offset"
            left join reached r on r.partition = e.partition and r.handler = h.handler and r.type = h.type
            left join lacking c on c.partition = e.partition and c.handler = h.handler and c.type = h.type
                and e."offset" >= c.next_offset and e."offset" < c.until_offset
            where i.outcome is not null or e.at >= greatest($6, h.begins)
        )
        select type, handler, count(*) as published,
               count(*) filter (where fate = 'applied') as applied,
               count(*) filter (where fate = 'superseded') as superseded,
               count(*) filter (where fate = 'parked') as parked, count(*) filter (where fate = 'dead') as dead,
               count(*) filter (where fate = 'waiting') as waiting, count(*) filter (where fate = 'lost') as lost,
               coalesce((array_agg(id order by id) filter (where fate = 'lost'))[:$7], '{}') as lost_ids
        from judged group by type, handler order by type, handler
        """,
        *reader, [each[0] for each in subscribed], [each[1] for each in subscribed], remembered_since, _SAMPLES,
        [each[2] for each in subscribed], timeout=STATEMENT_SECONDS,
    )  # fmt: skip
    return [HandlerOutcome(**row) for row in rows]


async def faults(conn: Connection, reader: Reader, types: Sequence[str]) -> Faults:
    """Of the records that say they are of these types, or whose headers do not even say that."""
    row = await conn.fetchrow(
        """
        with judged as (
            select l.partition, l."offset", case
                when b.partition is not null then 'dead'
                when l."offset" >= coalesce(r.next_offset, 0) then 'waiting' else 'lost' end as fate
            from verify_log l
            left join set_aside b on b.consumer = $1 and b.epoch = $2 and b.topic = $3 and b.handler is null
                and b.partition = l.partition and b."offset" = l."offset"
            left join inbox_offsets r on r.consumer = $1 and r.epoch = $2 and r.topic = $3
                and r.partition = l.partition
            where l.fault and (l.type is null or l.type = any($4::text[]))
        )
        select count(*) as published, count(*) filter (where fate = 'dead') as dead,
               count(*) filter (where fate = 'waiting') as waiting, count(*) filter (where fate = 'lost') as lost,
               coalesce((array_agg($3 || ':' || partition || ':' || "offset" order by partition, "offset")
                         filter (where fate = 'lost'))[:$5], '{}') as lost_places
        from judged
        """,
        *reader,
        types,
        _SAMPLES,
        timeout=STATEMENT_SECONDS,
    )
    assert row is not None  # noqa: S101 - an aggregate without grouping has one row
    return Faults(**row)


async def doubled(conn: Connection, handler: Handler) -> list[Doubled]:
    """Causes with an effect more than once, where the handler's effects say what caused them."""
    if handler.effect is None:
        return []
    if not _EFFECT.fullmatch(handler.effect):
        raise ValueError(f"a handler's effect is table.column or table.column/more, not {handler.effect}")
    table, columns = handler.effect.split(".")
    key = columns.split("/")
    rows = await conn.fetch(
        f"""
        with again as (
            select {key[0]} as cause, count(*) - 1 as too_many from {table} where {key[0]} is not null
            group by {", ".join(key)} having count(*) > 1
        ), doubled as (
            select cause, sum(too_many) as too_many from again group by cause
        )
        select e.type, sum(d.too_many)::bigint as too_many, (array_agg(d.cause order by d.cause))[:$1] as causes
        from doubled d left join verify_events e on e.id = d.cause group by e.type
        """,  # noqa: S608 - names
        _SAMPLES,
        timeout=STATEMENT_SECONDS,
    )
    return [Doubled(**row) for row in rows]


async def taken(conn: Connection, reader: Reader, found: Sequence[Stranger]) -> list[tuple[Stranger, str, str]]:
    """What the service made of these records: which, by which handler or, of a whole record, the service; and how.

    Nothing is said of a copy with a genuine event's id: what is known under that id may well be the genuine one.
    """
    by_id = {each.event_id: each for each in found if each.event_id is not None and each.why != "other_content"}
    by_place = {(each.partition, each.offset): each for each in found}
    rows = await conn.fetch(
        """
        select i.event_id, null::int as partition, null::bigint as "offset", i.handler,
               coalesce(s.reason, i.outcome) as outcome
        from inbox i left join set_aside s on s.consumer = $1 and s.handler = i.handler and s.event_id = i.event_id
        where i.event_id = any($4::uuid[])
        union all
        select null, partition, "offset", $1, reason from set_aside
        where consumer = $1 and epoch = $2 and topic = $3 and handler is null
          and (partition, "offset") in (select * from unnest($5::int[], $6::bigint[]))
        """,
        *reader, list(by_id), [place[0] for place in by_place], [place[1] for place in by_place],
        timeout=STATEMENT_SECONDS,
    )  # fmt: skip
    return [
        (by_id[row["event_id"]] if row["event_id"] else by_place[row["partition"], row["offset"]],
         row["handler"], row["outcome"])
        for row in rows
    ]  # fmt: skip
