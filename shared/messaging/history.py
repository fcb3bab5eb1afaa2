"""Which handlers a service has had, how far each has come, and what it still has to be given (ADR 0009).

`inbox_offsets` says how far a service has read; a handler that was added later, or that an older worker did not have,
lacks what lies behind. That is noted here when a partition is taken over, and `catch_up` works it off.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID

from shared.messaging.handler import Handler
from shared.postgres.pool import Connection

Partition: TypeAlias = tuple[str, int]  # topic, partition
HandledType: TypeAlias = tuple[str, str, str]  # handler, type, the type's topic


class Range(NamedTuple):
    """What a handler still has to be given of a type: offsets from `next_offset` to below `until_offset`.

    again: also what it has had. ticket: another one whenever the range is set anew.
    """

    handler: str
    type: str
    topic: str
    partition: int
    next_offset: int
    until_offset: int
    again: bool
    ticket: UUID


async def register_handlers(
    conn: Connection, consumer: str, generation: str, handlers: Collection[Handler]
) -> Mapping[tuple[str, str], int]:
    """Make these handlers known; safe to run again. Returns, by handler and type, the time (ms) they begin at, if any.

    One that begins now begins when the database came into being, where the service has read nothing yet, or where only
    workers have that leave no trace of their handlers (0.1.x, started on a new database).
    """
    pairs = sorted((each.name, kind.type, each.begins == "now") for each in handlers for kind in each.events)
    await conn.execute(
        """
        with pairs as (
            select * from unnest($3::text[], $4::text[], $5::boolean[]) as t(handler, type, begins_now)
        ), generation as (
            insert into handler_generations (consumer, generation, handler, type)
            select $1, $2, handler, type from pairs on conflict do nothing
        ), first as (
            select coalesce(
                (select at from handlers_since
                 where not exists (select from inbox_offsets where consumer = $1)
                    or not exists (select from handler_generations where consumer = $1)),
                clock_timestamp()) as at
        )
        insert into handler_pairs (consumer, handler, type, begins_at)
        select $1, handler, type, case when begins_now then first.at end from pairs, first
        on conflict (consumer, handler, type) do nothing
        """,
        consumer, generation, *[[pair[nth] for pair in pairs] for nth in range(3)],
    )  # fmt: skip
    rows = await conn.fetch(
        """
        select handler, type, (extract(epoch from begins_at) * 1000)::bigint as begins from handler_pairs
        where consumer = $1 and begins_at is not null
        """,
        consumer,
    )
    return {(row["handler"], row["type"]): row["begins"] for row in rows}


async def take_over_partitions(
    conn: Connection,
    consumer: str,
    generation: str,
    epoch: UUID,
    pairs: Sequence[HandledType],
    places: Collection[Partition],
) -> int:
    """Note what the workers that read these partitions before did not give to these handlers; returns how many ranges.

    To be called in the transaction that reads from where to go on: from there on, this generation handles all of it.
    """
    rows = await conn.fetch(
        """
        with places as (
            select * from unnest($4::text[], $5::int[]) as t(topic, partition)
        ), lacking as (
            select r.handler, r.type, r.topic, r.partition, r.reached, r.next_offset
            from handler_reached r join places using (topic, partition)
            join unnest($6::text[], $7::text[], $8::text[]) as mine(handler, type, topic) using (handler, type, topic)
            where r.consumer = $1 and r.epoch = $3 and r.reached < r.next_offset
        ), here as (
            insert into handler_offsets as h (consumer, generation, epoch, topic, partition, next_offset)
            select $1, $2, $3, topic, partition, next_offset from inbox_offsets join places using (topic, partition)
            where consumer = $1 and epoch = $3
            on conflict (consumer, generation, epoch, topic, partition) do update
            set next_offset = greatest(h.next_offset, excluded.next_offset)
        )
        insert into handler_catch_up as c (consumer, handler, type, epoch, topic, partition, next_offset, until_offset)
        select $1, handler, type, $3, topic, partition, reached, next_offset from lacking
        on conflict (consumer, handler, type, epoch, topic, partition) do update
        set next_offset = case when c.next_offset < c.until_offset then least(c.next_offset, excluded.next_offset)
                               else excluded.next_offset end,
            until_offset = excluded.until_offset,
            again = c.again and c.next_offset < c.until_offset, ticket = gen_random_uuid()
        returning 1
        """,
        consumer, generation, epoch, [topic for topic, _ in places], [partition for _, partition in places],
        *_columns(pairs),
    )  # fmt: skip
    return len(rows)


async def pending_ranges(conn: Connection, consumer: str, epoch: UUID, pairs: Sequence[HandledType]) -> list[Range]:
    """What is still to be given to these handlers, in this life of the broker."""
    rows = await conn.fetch(
        """
        select handler, type, topic, partition, next_offset, until_offset, again, ticket
        from handler_catch_up join unnest($3::text[], $4::text[], $5::text[]) as mine(handler, type, topic)
            using (handler, type, topic)
        where consumer = $1 and epoch = $2 and next_offset < until_offset order by topic, partition, handler, type
        """,
        consumer, epoch, *_columns(pairs),
    )  # fmt: skip
    return [Range(*row) for row in rows]


async def advance_ranges(conn: Connection, consumer: str, epoch: UUID, done: Sequence[tuple[Range, int]]) -> None:
    """Of these ranges, everything below the offset has been given; of those set anew meanwhile nothing is said."""
    await conn.execute(
        """
        update handler_catch_up c set next_offset = least(t.reached, c.until_offset)
        from unnest($3::text[], $4::text[], $5::text[], $6::int[], $7::uuid[], $8::bigint[])
            as t(handler, type, topic, partition, ticket, reached)
        where c.consumer = $1 and c.epoch = $2 and c.handler = t.handler and c.type = t.type and c.topic = t.topic
            and c.partition = t.partition and c.ticket = t.ticket and c.next_offset < t.reached
        """,
        consumer, epoch, [each.handler for each, _ in done], [each.type for each, _ in done],
        [each.topic for each, _ in done], [each.partition for each, _ in done], [each.ticket for each, _ in done],
        [reached for _, reached in done],
    )  # fmt: skip


def _columns(pairs: Sequence[HandledType]) -> list[list[str]]:
    return [[pair[nth] for pair in pairs] for nth in range(3)]


class HandlerLag(NamedTuple):
    """A handler that has not been given all that its service has read, and how much that is, markers included.

    noted: what is being caught up. unseen: what lies where no worker that has the handler has taken over yet.
    """

    handler: str
    noted: int
    unseen: int
    again: bool
    done: int

    @property
    def records(self) -> int:
        """What it still lacks, at most."""
        return self.noted + self.unseen

    @property
    def description(self) -> str:
        """In words."""
        if self.noted:
            doing = "is being replayed" if self.again else "is catching up"
            return f"{self.handler} {doing}, up to {self.records} records to go"
        return f"{self.handler} lacks up to {self.records} records, which older workers handle without it"


async def handler_lags(conn: Connection, consumer: str, epoch: UUID, handlers: Collection[Handler]) -> list[HandlerLag]:
    """Of these handlers those that lack something, by name."""
    pairs = [(each.name, kind.type, kind.topic, each.begins == "now") for each in handlers for kind in each.events]
    rows = await conn.fetch(
        """
        with mine as (
            select * from unnest($3::text[], $4::text[], $5::text[], $6::boolean[])
                as t(handler, type, topic, begins_now)
        ), noted as (
            select handler, sum(until_offset - next_offset)::bigint as noted, 0::bigint as unseen,
                   bool_or(again) as again, sum(next_offset)::bigint as done
            from handler_catch_up join mine using (handler, type, topic)
            where consumer = $1 and epoch = $2 and next_offset < until_offset group by handler
        ), unseen as (
            select m.handler, 0::bigint as noted, sum(o.next_offset - coalesce(r.reached, 0))::bigint as unseen,
                   false as again, 0::bigint as done
            from mine m
            join inbox_offsets o on o.consumer = $1 and o.epoch = $2 and o.topic = m.topic
            left join handler_reached r on r.consumer = $1 and r.epoch = $2 and r.topic = o.topic
                and r.partition = o.partition and r.handler = m.handler and r.type = m.type
            left join handler_pairs p on p.consumer = $1 and p.handler = m.handler and p.type = m.type
            where coalesce(r.reached, 0) < o.next_offset and not (m.begins_now and p.handler is null)
            group by m.handler
        )
        select handler, sum(noted)::bigint, sum(unseen)::bigint, bool_or(again), sum(done)::bigint
        from (select * from noted union all select * from unseen) as both_ group by handler order by handler
        """,
        consumer, epoch, *[[pair[nth] for pair in pairs] for nth in range(4)],
    )  # fmt: skip
    return [HandlerLag(*row) for row in rows]


async def begin_replay(conn: Connection, consumer: str, epoch: UUID, handler: Handler) -> int:
    """Have a handler given again all that its service has read of its types; returns how many ranges that is.

    Where it still lacks something, the whole of it is given again.
    """
    pairs = [(handler.name, kind.type, kind.topic) for kind in handler.events]
    rows = await conn.fetch(
        """
        insert into handler_catch_up as c
            (consumer, handler, type, epoch, topic, partition, next_offset, until_offset, again)
        select $1, mine.handler, mine.type, $2, o.topic, o.partition, 0, o.next_offset, true
        from unnest($3::text[], $4::text[], $5::text[]) as mine(handler, type, topic)
        join inbox_offsets o on o.consumer = $1 and o.epoch = $2 and o.topic = mine.topic
        where o.next_offset > 0
        on conflict (consumer, handler, type, epoch, topic, partition) do update
        set next_offset = 0, until_offset = excluded.until_offset, again = true, ticket = gen_random_uuid()
        returning 1
        """,
        consumer, epoch, *_columns(pairs),
    )  # fmt: skip
    return len(rows)


async def known_handlers(conn: Connection, consumer: str) -> Mapping[str, datetime | None]:
    """Every handler that a worker here has had, and when it begins; None: at the beginning."""
    rows = await conn.fetch(
        "select handler, max(begins_at) as begins_at from handler_pairs where consumer = $1 group by handler", consumer
    )
    return {row["handler"]: row["begins_at"] for row in rows}
