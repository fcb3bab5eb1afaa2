"""The stage on which faults happen: real Kafka, real Postgres, worker processes that can be killed by pid."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from uuid import UUID

import asyncpg

from deploy.embedded.kafka import KafkaBroker
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.process import Child, free_port, wait_until_listening
from deploy.verify import Report, verify
from shared.events import EnrolmentRequested, Event, UnitState
from shared.ids import new_id
from shared.messaging import outbox
from shared.postgres.failures import UNAVAILABLE
from shared.postgres.pool import Pool, create_pool
from shared.postgres.transaction import transaction
from shared.settings import Settings
from tests.faults.probe.handlers import LATER, PAUSE_FILE, handlers
from tests.faults.probe.variants import MARK
from tests.support.databases import Databases
from tests.support.settings import make_settings
from tests.support.topics import renew_topics

PUBLISHER, CONSUMER = "enrolment", "notifications"
_ROOT = Path(__file__).resolve().parents[2]
_PROBE = Path(__file__).with_name("probe")
TOPICS = _PROBE / "topics.yaml"
UNITS = [new_id() for _ in range(20)]
PATIENCE_SECONDS = 45.0


class FaultDidNotHappenError(AssertionError):
    """The scenario ran, but what it is about did not take place: its verdict would mean nothing."""


async def until(what: str, truth: Callable[[], bool]) -> None:
    """Wait until it is true; raises FaultDidNotHappen, saying what was waited for."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not truth():
                await asyncio.sleep(0.03)
    except TimeoutError:
        raise FaultDidNotHappenError(f"waited {PATIENCE_SECONDS:.0f} s in vain: {what}") from None


async def until_at_least(number: int, count: Callable[[], Awaitable[int]]) -> None:
    """Wait until what is counted has come to `number`; raises FaultDidNotHappen."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await count() < number:
                await asyncio.sleep(0.03)
    except TimeoutError:
        raise FaultDidNotHappenError(f"{count.__name__} did not reach {number} in {PATIENCE_SECONDS:.0f} s") from None


@dataclass
class Stage:
    """Two databases, fresh topics, and the probe's processes."""

    kafka: KafkaBroker
    postgres: EmbeddedPostgres
    databases: Mapping[str, str]
    directory: Path
    publisher: Pool
    consumer: Pool
    _children: list[Child] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)
    _pausing: bool = False
    later: bool = False  # consumers that are started from now on have one handler more

    def start(self, service: str, variant: str = "") -> Child:
        """Start one more worker of a service."""
        return self._start(service, ["tests.faults.probe", "worker"], self._environment(service, variant))

    async def start_api(self) -> str:
        """Start the real API of the publisher, no probe; gives its origin once it listens."""
        environment = self._environment(PUBLISHER, "")
        port = int(environment["MEDLED_PORT"])
        child = self._start(f"{PUBLISHER}-api", [f"services.{PUBLISHER}", "api"], environment)
        await asyncio.to_thread(wait_until_listening, child, port, PATIENCE_SECONDS)
        return f"http://127.0.0.1:{port}"

    def _start(self, name: str, module: Sequence[str], environment: Mapping[str, str]) -> Child:
        name = f"{name}-{next(self._numbers)}"
        child = Child(
            name=name,
            command=[sys.executable, "-m", *module],
            log=self.directory / f"{name}.log",
            environment=environment,
            directory=_ROOT,
        )
        child.start()
        self._children.append(child)
        return child

    @property
    def pause_file(self) -> Path:
        """While this file is there, a batch waits, done but not committed."""
        return self.directory / "paused"

    @property
    def mark(self) -> str:
        """The file by which a variant knows that it has reached its point."""
        return str(self.directory / "reached")

    def _environment(self, service: str, variant: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MEDLED_", "OTEL_"))}
        return {
            **inherited,
            "MEDLED_ENVIRONMENT": "development",
            "MEDLED_DATABASE_URL": self.databases[service],
            "MEDLED_KAFKA_BOOTSTRAP": self.kafka.bootstrap,
            "MEDLED_TOPICS_FILE": str(TOPICS),
            "MEDLED_PUBLIC_URL": "http://127.0.0.1:8080",
            "MEDLED_OIDC_ISSUER": "http://127.0.0.1:8081",
            "MEDLED_SESSION_SECRET": "only-for-tests-only-for-tests-only-for-tests",
            "MEDLED_PORT": str(free_port()),
            "MEDLED_LOG_FORMAT": "console",
            "MEDLED_BATCH_SIZE": "200",
            "MEDLED_RELAY_BATCH_SIZE": "200",
            "PROBE_SERVICE": service,
            "PROBE_HASTE": "1",
            MARK: self.mark,
            **({"PROBE_VARIANT": variant} if variant else {}),
            **({"PROBE_HANDLERS": LATER} if self.later else {}),
            **({PAUSE_FILE: str(self.pause_file)} if service == CONSUMER and self._pausing else {}),
        }

    def pause_batches(self) -> None:
        """Consumers started from now on stop, uncommitted, at the end of their first batch."""
        self._pausing = True

    def resume_batches(self) -> None:
        """Consumers started from now on do not stop, and those that wait go on."""
        self._pausing = False
        self.pause_file.unlink(missing_ok=True)

    async def write(self, events: int) -> None:
        """As an API would: requests for places, and a unit's new state with every tenth of them."""
        for start in range(0, events, 20):
            await self._write_once(min(20, events - start))

    async def _write_once(self, events: int) -> None:
        batch: list[Event] = [
            some_request() if n % 10 else UnitState(unit_id=UNITS[(n // 10) % len(UNITS)], name=f"Unit {new_id()}")
            for n in range(events)
        ]
        async with transaction(self.publisher) as conn:
            await outbox.add(conn, *batch, now=datetime.now(UTC))

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator["Load"]:
        """Three write all the time while the block runs, about the same units: ids do not commit in order."""
        load = Load()
        tasks = [asyncio.create_task(load.go_on(self._write_once)) for _ in range(3)]
        try:
            yield load
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def backlog(self) -> int:
        """Rows the publisher has not published."""
        return int(await self.publisher.fetchval("select count(*) from outbox where published_at is null"))

    async def published(self) -> int:
        """Rows the publisher has published."""
        return int(await self.publisher.fetchval("select count(*) from outbox where published_at is not null"))

    async def handled(self) -> int:
        """Events the consumer has handled."""
        return int(await self.consumer.fetchval("select count(*) from inbox"))

    async def term(self) -> int:
        """How often the publisher's relay has changed hands; 0 before the first."""
        return int(await self.publisher.fetchval("select coalesce(max(term), 0) from relay_leader"))

    async def verdict(self) -> Report:
        """What `medled verify --wait` says."""
        expected = {CONSUMER: handlers(later=self.later)}
        return await verify(self.databases, self.kafka.bootstrap, expected, wait=PATIENCE_SECONDS)

    def end(self) -> None:
        """End every process."""
        self.resume_batches()
        for child in self._children:
            child.signal_stop()
        for child in self._children:
            child.stop(grace=5)

    def logs(self) -> str:
        """The ends of all logs, for whoever looks into a failure."""
        return "\n".join(f"--- {child.name}\n{child.tail(25)}" for child in self._children)


@dataclass
class Load:
    """Writes without end; a refusal is what an API would answer with 503."""

    written: int = 0
    refused: int = 0

    async def go_on(self, write: Callable[[int], Awaitable[None]]) -> None:
        while True:
            try:
                await write(20)
                self.written += 20
            except UNAVAILABLE:
                self.refused += 1
            await asyncio.sleep(0.1)


def some_request(cohort_id: UUID | None = None) -> EnrolmentRequested:
    return EnrolmentRequested(
        enrolment_id=new_id(), person_id=new_id(), cohort_id=cohort_id or new_id(), programme_id=new_id(),
        unit_id=new_id(), approve_before=datetime(2026, 12, 24, tzinfo=UTC),
    )  # fmt: skip


@asynccontextmanager
async def stage(kafka: KafkaBroker, databases: Databases, directory: Path) -> AsyncIterator[Stage]:
    """A stage of its own for one fault; every process on it is gone afterwards."""
    await renew_topics(kafka.bootstrap, TOPICS)
    dsns = {service: await databases(service) for service in (PUBLISHER, CONSUMER)}
    await _migrate(dsns[CONSUMER])
    publisher, consumer = [
        await create_pool(make_settings(Settings, dsn, database_pool_size=4), name="stage") for dsn in dsns.values()
    ]
    directory.mkdir(parents=True, exist_ok=True)
    made = Stage(kafka, databases.server, dsns, directory, publisher, consumer)
    try:
        yield made
    except Exception as error:
        error.add_note(made.logs())
        raise
    finally:
        made.end()
        publisher.terminate()
        consumer.terminate()
        await databases.drop_all()


async def _migrate(dsn: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        for file in sorted((_PROBE / "migrations").glob("*.sql")):
            await conn.execute(file.read_text(encoding="utf-8").partition("-- migrate:down")[0])
    finally:
        await conn.close()
