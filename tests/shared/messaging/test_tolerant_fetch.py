"""What the Kafka client itself cannot read."""

import asyncio
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.record.util import calc_crc32c

from deploy.verify.report import UNDECODABLE
from shared.clock import Clock
from shared.events import EnrolmentRequested
from shared.messaging.consumer import Consumer
from shared.messaging.subscription import Subscription
from shared.messaging.tolerant_fetch import HEADER, partitions_behind, read_one_by_one
from shared.postgres.pool import create_pool
from shared.settings import Settings
from tests.support.backbone import publish, requested
from tests.support.databases import Databases
from tests.support.settings import make_settings
from tests.support.verifying import House, house, line

TOPIC, BAD = "medled.feedback.v1", b"QQQQ"  # a topic that the house of the last tests does not read
pytestmark = pytest.mark.timeout(150)  # joining a group takes seconds, and verify is patient


async def send_batch(bootstrap: str, partition: int, *records: bytes, topic: str = TOPIC) -> None:
    """One batch, by some other client. aiokafka cannot read those of its records that are `BAD`."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    batch = producer.create_batch()
    for record in records:
        batch.append(timestamp=1_700_000_000_000, key=b"k", value=record, headers=[(record.decode(), b"1")])
    batch.close()
    build = batch._build

    def spoilt() -> bytearray:
        raw = bytearray(build())
        for at in [match.start() for match in re.finditer(b"(?<=.)" + BAD + b"(?=.1)", raw, re.DOTALL)]:
            raw[at : at + len(BAD)] = b"\xff\xfe\xff\xfe"  # a header's name that is not UTF-8
        raw[17:21] = struct.pack(">I", calc_crc32c(bytes(raw[21:])))
        return raw

    batch._build = spoilt
    await (await producer.send_batch(batch, topic, partition=partition))
    await producer.stop()


@asynccontextmanager
async def reading(bootstrap: str, partition: int) -> AsyncIterator[AIOKafkaConsumer]:
    """A client of one partition, from its end on, that fetches as a worker's does."""
    client = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_min_bytes=400, auto_offset_reset="earliest"
    )
    await client.start()
    place = TopicPartition(TOPIC, partition)
    client.assign([place])
    client.seek(place, (await client.end_offsets([place]))[place])
    yield client
    await client.stop()


@pytest.mark.kafka
async def test_of_a_batch_at_fault_the_rest_is_one_record_without_content_and_the_next_batch_is_read(
    kafka: str,
) -> None:
    async with reading(kafka, 5) as client:
        [place] = client.assignment()
        start = await client.position(place)
        await send_batch(kafka, 5, b"good", BAD, b"lost")
        await send_batch(kafka, 5, b"next")
        records, found = await read_one_by_one(client, place, 100, 2000)
        assert found
        assert [record.value for record in records] == [b"good", None]
        assert (records[1].offset, records[1].headers) == (
            start + 2, ((HEADER, f"UnicodeDecodeError, from offset {start + 1}".encode()),),
        )  # fmt: skip
        records, found = await read_one_by_one(client, place, 100, 2000)
        assert ([record.value for record in records], found) == ([b"next"], False)
        assert await partitions_behind(client, [place]) == []


@pytest.mark.kafka
async def test_a_worker_that_holds_one_partition_finds_the_record_and_is_wary_no_longer(
    kafka: str, database: Databases
) -> None:
    """The broker holds a small fetch open for half a second: that long, nothing seems to be there."""
    settings = make_settings(Settings, await database("portal"), kafka_bootstrap=kafka)
    pool = await create_pool(settings, name="test")
    consumer = Consumer(pool, Clock(None), service="portal", handlers=[], park_timeout=timedelta(hours=1))
    it = Subscription(settings, pool, consumer)
    async with reading(kafka, 4) as client:
        await send_batch(kafka, 4, BAD)
        with pytest.raises(UnicodeDecodeError):
            await it._fetch(client)
        assert it._failed.is_set()
    async with reading(kafka, 4) as client:
        [place] = client.assignment()
        client.seek(place, await client.position(place) - 1)
        [record] = await it._fetch(client)
        assert record.headers[0][0] == HEADER
        assert await it._fetch(client) == ()
        assert not it._tolerant
    await pool.close()


@pytest.mark.kafka
@pytest.mark.parametrize("wary", [False, True])
async def test_whatever_reading_fails_at_nothing_more_is_taken_from_that_client(
    kafka: str, database: Databases, monkeypatch: pytest.MonkeyPatch, wary: bool
) -> None:
    """It may have moved past what it took from other partitions, and FastStream would call it again."""
    settings = make_settings(Settings, await database("portal"), kafka_bootstrap=kafka)
    pool = await create_pool(settings, name="test")
    consumer = Consumer(pool, Clock(None), service="portal", handlers=[], park_timeout=timedelta(hours=1))
    it = Subscription(settings, pool, consumer)
    it._tolerant = wary

    async def refuse(*_: object, **__: object) -> None:
        raise TopicAuthorizationFailedError

    async with reading(kafka, 4) as client:
        monkeypatch.setattr(client, "getmany", refuse)
        with pytest.raises(TopicAuthorizationFailedError):
            await it._fetch(client)
    assert it._failed.is_set()
    assert it._tolerant is wary
    await pool.close()


async def one_record_is_unreadable(all_: House) -> None:
    for _ in range(3):
        await publish(all_.producer, [requested() for _ in range(30)])
    await send_batch(all_.bootstrap, 3, BAD, topic=EnrolmentRequested.topic)
    for _ in range(3):
        await publish(all_.producer, [requested() for _ in range(30)])
        await asyncio.sleep(0.2)
    report = await all_.verify(wait=60)
    assert report.under_way == []
    assert (report.lost, report.doubled, report.foreign) == (0, 0, 1)
    assert (line(report).published, line(report).applied) == (180, 180)
    assert (line(report, UNDECODABLE).published, line(report, UNDECODABLE).dead) == (1, 1)
    rows = await all_.consumer.fetch("select state, reason, partition, headers from set_aside")
    assert [tuple(row)[:3] for row in rows] == [("dead", "undecodable", 3)]


async def test_a_record_that_the_client_cannot_read_is_a_dead_letter_and_takes_no_other_with_it(
    broker: str, database: Databases
) -> None:
    async with house(database, broker, transactions=False) as all_:
        await one_record_is_unreadable(all_)


@pytest.mark.kafka
async def test_on_apache_kafka_such_a_record_is_found_behind_the_mark_of_a_transaction(
    kafka: str, database: Databases
) -> None:
    async with house(database, kafka) as all_:
        await one_record_is_unreadable(all_)
