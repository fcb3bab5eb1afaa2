"""A producer and a consumer on real servers, and `medled verify` to judge them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from deploy.embedded.process import free_port
from deploy.verify import Report, Subscription, verify
from shared.events import EnrolmentRequested
from shared.messaging.handler import Handler
from shared.postgres.pool import Pool
from shared.settings import Settings
from tests.support.backbone import count_effects, running
from tests.support.databases import Databases
from tests.support.settings import make_settings

COUNT = Handler("test.count", (EnrolmentRequested,), count_effects, "every_fact", effect="effects.caused_by")


@dataclass(frozen=True)
class House:
    """A producer and a consumer, and how to judge them."""

    bootstrap: str
    databases: dict[str, str]
    producer: Pool
    consumer: Pool
    handler: Handler

    async def verify(self, wait: float = 40) -> Report:
        return await verify(self.databases, self.bootstrap, {"portal": [self.handler]}, wait=wait)

    async def send(self, value: bytes | None, **headers: str) -> None:
        """A record that no outbox has told."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        pairs = [(name, text.encode()) for name, text in headers.items()]
        await producer.send_and_wait(EnrolmentRequested.topic, value, key=b"k", headers=pairs)
        await producer.stop()


@asynccontextmanager
async def house(
    database: Databases,
    bootstrap: str,
    handler: Handler = COUNT,
    *,
    transactions: bool = True,
    producing: Sequence[Handler] = (),
) -> AsyncIterator[House]:
    databases = {service: await database(service) for service in ("enrolment", "portal")}
    settings = [
        make_settings(Settings, dsn, port=free_port(), kafka_bootstrap=bootstrap, kafka_transactions=transactions)
        for dsn in databases.values()
    ]
    async with (
        running(settings[0], "enrolment", producing) as producer,
        running(settings[1], "portal", [handler]) as consumer,
    ):
        yield House(bootstrap, databases, producer, consumer, handler)


def line(report: Report, type_: str = EnrolmentRequested.type) -> Subscription:
    return next(each for each in report.subscriptions if each.type == type_)
