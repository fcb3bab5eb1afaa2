"""The broker's epoch, whatever else lies on its topic. A real broker."""

from aiokafka import AIOKafkaProducer

from shared.ids import new_id
from shared.messaging.epoch import EPOCH_TOPIC, EpochWatcher
from shared.settings import Settings
from tests.support.settings import make_settings


async def write(bootstrap: str, *values: bytes | None) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for value in values:
            await producer.send_and_wait(EPOCH_TOPIC, value, key=b"k", partition=0)


async def test_what_is_no_epoch_is_passed_over_and_the_first_epoch_stays(broker: str) -> None:
    settings = make_settings(Settings, "postgresql://nobody@127.0.0.1:1/none", kafka_bootstrap=broker)
    await write(broker, b"garbage", None, b"\xff")
    watchers = [EpochWatcher(settings) for _ in range(2)]
    epoch = await watchers[0].current()
    await write(broker, str(new_id()).encode(), b"garbage")
    assert [await watcher.current() for watcher in watchers] == [epoch, epoch]
    for watcher in watchers:
        await watcher.close()
