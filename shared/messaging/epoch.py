"""Which life of the broker this is.

A broker that lost its data forgets every offset, yet nothing in the protocol says so. The first record of the topic
`medled.epoch.v1` that is an epoch names the broker's life: whoever finds none writes one, and the lowest offset wins.
What somebody else wrote before it is passed over, or it would stop every worker. A relay that sees another epoch than
its database remembers publishes its retained rows again; a consumer starts from the beginning.
"""

import asyncio
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from shared.ids import new_id
from shared.messaging.handler import Record
from shared.messaging.tolerant_fetch import partitions_behind, read_one_by_one
from shared.messaging.topic_admin import ensure_topics
from shared.postgres.pool import Connection
from shared.settings import Settings

EPOCH_TOPIC = "medled.epoch.v1"
EPOCH_PLACE = TopicPartition(EPOCH_TOPIC, 0)
CHECK_SECONDS = 3.0


def epoch_in(record: Record) -> UUID | None:
    """The epoch that a record of the topic names; None when it is anything else."""
    try:
        return UUID((record.value or b"").decode())
    except ValueError:
        return None


async def first_epoch(client: AIOKafkaConsumer) -> UUID | None:
    """The first epoch that the topic names, read by a client that has it assigned; None while it names none."""
    end = (await client.end_offsets([EPOCH_PLACE]))[EPOCH_PLACE]
    if end == 0:
        return None
    client.seek(EPOCH_PLACE, 0)
    while await partitions_behind(client, [EPOCH_PLACE], {EPOCH_PLACE: end}):
        for record in (await read_one_by_one(client, EPOCH_PLACE, 1, wait_ms=1000))[0]:
            if (epoch := epoch_in(record)) is not None:
                return epoch
    return None


class EpochWatcher:
    """Reads the broker's epoch over one kept connection. Every method raises KafkaError while the broker is away."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self._asking = asyncio.Lock()

    async def current(self) -> UUID:
        """The epoch of the broker as it is now; a new broker gets its topics and its epoch here."""
        async with self._asking:
            return await self._current()

    async def _current(self) -> UUID:
        try:
            found = await self._first_epoch()
            if found is None:
                await ensure_topics(
                    self._settings.kafka_client(), file=self._settings.topics_file,
                    replication_factor=self._settings.kafka_replication_factor,
                )  # fmt: skip
                await self._propose()
                found = await self._first_epoch()
        except BaseException:
            await self.close()
            raise
        if found is None:
            raise KafkaError(f"{EPOCH_TOPIC} cannot be read yet")
        return found

    async def close(self) -> None:
        """Let go of the connection; the next `current` makes a new one."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _first_epoch(self) -> UUID | None:
        consumer = self._consumer
        if consumer is None:
            consumer = AIOKafkaConsumer(**self._settings.kafka_client(), enable_auto_commit=False)
            self._consumer = consumer
            await consumer.start()
            consumer.assign([EPOCH_PLACE])
        if EPOCH_TOPIC not in await consumer.topics():
            return None
        async with asyncio.timeout(5):
            return await first_epoch(consumer)

    async def _propose(self) -> None:
        producer = AIOKafkaProducer(**self._settings.kafka_client(), acks="all")
        try:
            await producer.start()
            await producer.send_and_wait(EPOCH_TOPIC, str(new_id()).encode(), partition=0)
        finally:
            await producer.stop()


async def load_epoch(conn: Connection, role: str) -> UUID | None:
    """The epoch this database last worked with, as 'relay' or as 'consumer'."""
    epoch: UUID | None = await conn.fetchval("select epoch from broker_epoch where role = $1", role)
    return epoch


async def save_epoch(conn: Connection, role: str, epoch: UUID) -> None:
    """From now on, this is the epoch this database works with."""
    await conn.execute(
        "insert into broker_epoch values ($1, $2) on conflict (role) do update set epoch = excluded.epoch",
        role,
        epoch,
    )
