"""What the Kafka client itself cannot read."""

import asyncio
import struct

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

from deploy.verify.report import UNDECODABLE
from shared.events import EnrolmentRequested
from tests.support.backbone import publish, requested
from tests.support.databases import Databases
from tests.support.verifying import House, house, line

pytestmark = pytest.mark.timeout(150)  # joining a group takes seconds, and verify is patient


async def send_unreadable(bootstrap: str, partition: int) -> None:
    """A record that aiokafka itself cannot read, since a header's name is not UTF-8; written by some other client."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    batch = producer.create_batch()
    batch.append(timestamp=1_700_000_000_000, key=b"k", value=b"{}", headers=[("QQQQ", b"1")])
    batch.close()
    build = batch._build

    def spoilt() -> bytearray:
        raw = bytearray(build())
        if b"QQQQ" in raw:
            at = raw.index(b"QQQQ")
            raw[at : at + 4] = b"\xff\xfe\xff\xfe"
            raw[17:21] = struct.pack(">I", calc_crc32c(bytes(raw[21:])))
        return raw

    batch._build = spoilt
    await (await producer.send_batch(batch, EnrolmentRequested.topic, partition=partition))
    await producer.stop()


async def one_record_is_unreadable(all_: House) -> None:
    for _ in range(3):
        await publish(all_.producer, [requested() for _ in range(30)])
    await send_unreadable(all_.bootstrap, 3)
    for _ in range(3):
        await publish(all_.producer, [requested() for _ in range(30)])
        await asyncio.sleep(0.2)
    report = await all_.verify(wait=60)
    assert report.under_way == []
    assert report.clean
    assert (line(report).published, line(report).applied) == (180, 180)
    assert (line(report, UNDECODABLE).published, line(report, UNDECODABLE).dead) == (1, 1)
    rows = await all_.consumer.fetch("select state, reason, partition, headers from set_aside")
    assert [tuple(row)[:3] for row in rows] == [("dead", "undecodable", 3)]


async def test_a_record_that_the_client_cannot_read_is_a_dead_letter_and_takes_no_other_with_it(
    broker: str, database: Databases
) -> None:
    async with house(database, broker) as all_:
        await one_record_is_unreadable(all_)


@pytest.mark.kafka
async def test_on_apache_kafka_such_a_record_is_found_behind_the_mark_of_a_transaction(
    kafka: str, database: Databases
) -> None:
    async with house(database, kafka, transactions=True) as all_:
        await one_record_is_unreadable(all_)
