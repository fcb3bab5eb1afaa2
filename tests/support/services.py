"""All four services with the handlers that their workers have, over databases of their own; records are handed over."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from deploy.services import SERVICES, find_service
from shared.events.envelope import kafka_headers
from shared.messaging.handler import Record
from shared.messaging.retries import Retries
from shared.postgres.pool import Pool, create_pool
from shared.runtime.worker import Worker
from tests.shared.records import raw_record
from tests.support.databases import Databases
from tests.support.settings import make_settings

SECRETS: dict[str, dict[str, Any]] = {
    "feedback": {
        "link_secret": "a link secret only for tests, long enough",
        "ballot_secret": "a ballot secret only for tests, long enough",
    },
    "notifications": {
        "link_secret": "a link secret only for tests, long enough",
        "mail_sender": "no-reply@example.org", "smtp_host": "127.0.0.1", "smtp_security": "none",
    },
}  # fmt: skip


@dataclass(frozen=True)
class At:
    """One service: its worker is built and not run."""

    service: str
    dsn: str
    pool: Pool
    worker: Worker

    @property
    def topics(self) -> Sequence[str]:
        return self.worker.consumer.topics

    async def handle(self, *records: Record) -> None:
        """What the consumer would be given of these: the topics that the service reads."""
        await self.worker.consumer.handle([record for record in records if record.topic in self.topics])

    async def replay(self) -> None:
        """Have every dead letter tried again, as an operator does."""
        await self.pool.execute("update set_aside set state = 'parked', retry_at = now(), expires_at = now()")
        await Retries(self.pool, self.worker.clock, self.worker.consumer).tick()

    async def reasons(self) -> list[str]:
        """Why its dead letters are, each reason as often as it was given."""
        rows = await self.pool.fetch("select reason from set_aside where state = 'dead' order by reason")
        return [row["reason"] for row in rows]


def api_of(service: str, **settings: Any) -> FastAPI:
    """A service's API, which is connected to nothing."""
    declared = find_service(service)
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    return declared.create_api(make_settings(declared.settings, nowhere, **SECRETS.get(service, {}) | settings))


@asynccontextmanager
async def every_service(database: Databases) -> AsyncIterator[dict[str, At]]:
    found: dict[str, At] = {}
    try:
        for service in SERVICES:
            declared = find_service(service)
            dsn = await database(service)
            settings = make_settings(declared.settings, dsn, **SECRETS.get(service, {}))
            pool = await create_pool(settings, name="test")
            worker = declared.create_worker(settings, pool)
            found[service] = At(service, dsn, pool, worker)
        yield found
    finally:
        for at in found.values():
            await at.pool.close()


async def announced(pool: Pool) -> list[Record]:
    """What an outbox holds, as the relay would bring it to Kafka."""
    rows = await pool.fetch("select topic, key, headers, payload from outbox where type <> 'dead-letter' order by seq")
    return [
        raw_record(row["topic"], row["key"].encode(), row["payload"], kafka_headers(row["headers"])) for row in rows
    ]
