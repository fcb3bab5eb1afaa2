"""How far each partition is handled: kept in the transaction of the effects, so that the two cannot part (ADR 0003)."""

from collections.abc import Sequence
from uuid import UUID

from shared.messaging.handler import Record
from shared.postgres.pool import Connection


async def remember_offsets(
    conn: Connection, consumer: str, generation: str, epoch: UUID, records: Sequence[Record]
) -> None:
    """These records, which are in log order per partition, are handled, and all before them.

    Twice: for whoever reads next, and for the handlers of this generation, since an older one lacks some (ADR 0009).
    """
    furthest = {(record.topic, record.partition): record.offset + 1 for record in records}  # the last one stays
    places = sorted(furthest)
    await conn.execute(
        """
        with handled as (
            select * from unnest($4::text[], $5::int[], $6::bigint[]) as t(topic, partition, next_offset)
        ), here as (
            insert into handler_offsets as h (consumer, generation, epoch, topic, partition, next_offset)
            select $1, $2, $3, * from handled
            on conflict (consumer, generation, epoch, topic, partition) do update
            set next_offset = greatest(h.next_offset, excluded.next_offset)
        )
        insert into inbox_offsets as o (consumer, epoch, topic, partition, next_offset)
        select $1, $3, * from handled
        on conflict (consumer, epoch, topic, partition) do update
        set next_offset = greatest(o.next_offset, excluded.next_offset)
        """,
        consumer, generation, epoch, [topic for topic, _ in places], [partition for _, partition in places],
        [furthest[place] for place in places],
    )  # fmt: skip


async def applied_offsets(conn: Connection, consumer: str, epoch: UUID) -> dict[tuple[str, int], int]:
    """By topic and partition: the offset below which everything is handled, in that life of the broker."""
    rows = await conn.fetch(
        "select topic, partition, next_offset from inbox_offsets where consumer = $1 and epoch = $2", consumer, epoch
    )
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
