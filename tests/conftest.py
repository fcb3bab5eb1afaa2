"""Real servers for tests. Each is started once where it can be shared, and none outlives the run.

- `database`  await database("enrolment") -> DSN of a fresh, migrated database of that service
- `broker`    bootstrap address of a fresh memory broker (Tansu) with all topics; `tansu` is the process behind it
- `kafka`     bootstrap address of Apache Kafka, with all topics, empty for each module; `kafka_server` is the process
- `fresh_kafka`  the same with nothing on it: for tests whose workers come and go, or that read all there is
- `browser`   a real one (Chromium)
- `postgres`  the server behind `database`. A test that stops or kills it starts one of its own: `own_postgres`
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
from playwright.async_api import Browser, async_playwright

from deploy.embedded.kafka import KafkaBroker, KafkaUnavailableError
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.tansu import TansuBroker
from shared.messaging.topic_admin import ensure_topics
from tests.support.browser import CHROMIUM, QUIET
from tests.support.databases import Databases
from tests.support.ordering import long_ones_early
from tests.support.skipping import skip
from tests.support.topics import renew_topics

hypothesis.settings.register_profile("medled", deadline=None)  # a shared machine's pauses are not our failures
hypothesis.settings.load_profile("medled")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After pytest-randomly has shuffled them."""
    files = list(dict.fromkeys(_file(item) for item in items))
    place = {file: nth for nth, file in enumerate(long_ones_early(files))}
    items.sort(key=lambda item: place[_file(item)])


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    for name in [name for name in os.environ if name.startswith("MEDLED_")]:
        if name not in ("MEDLED_NO_SKIP", "MEDLED_CACHE"):
            del os.environ[name]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A Postgres server for the whole run. Without fsync: tests kill processes, not machines."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False)
    server.start()
    yield server
    server.child.kill()  # nothing in it is kept


@pytest.fixture(scope="session")
def _templates(postgres: EmbeddedPostgres) -> Databases:
    return Databases(postgres)


@pytest.fixture
async def database(_templates: Databases) -> AsyncIterator[Databases]:
    """`await database("feedback")` gives the DSN of a fresh database with that service's migrations applied."""
    yield _templates
    await _templates.drop_all()


@pytest.fixture
async def own_postgres(tmp_path: Path) -> AsyncIterator[Databases]:
    """Like `database`, on a server that this test alone may stop, kill or freeze: `own_postgres.server`."""
    server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    server.start()
    yield Databases(server)
    server.child.kill()


@pytest.fixture
async def tansu(tmp_path: Path) -> AsyncIterator[TansuBroker]:
    """A fresh memory broker with all topics."""
    server = TansuBroker(tmp_path / "broker")
    server.start()
    await ensure_topics(server.bootstrap)
    yield server
    server.child.kill()


@pytest.fixture
def broker(tansu: TansuBroker) -> str:
    return tansu.bootstrap


@pytest.fixture(scope="session")
def _kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    server = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    try:
        server.start()
    except KafkaUnavailableError as missing:
        skip(str(missing))
    yield server
    server.child.kill()


@pytest.fixture(scope="module")
def kafka_server(_kafka_server: KafkaBroker) -> KafkaBroker:
    """Apache Kafka with all topics, shared by a module's tests: use topics' offsets or own group ids, not emptiness."""
    _kafka_server.start()  # unless it runs: another module's test may have killed it
    asyncio.run(renew_topics(_kafka_server.bootstrap))
    return _kafka_server


@pytest.fixture
def kafka(kafka_server: KafkaBroker) -> str:
    return kafka_server.bootstrap


@pytest.fixture
async def fresh_kafka(kafka: str) -> str:
    """The same with nothing on it. A group finds together at once here; the memory broker has it wait for seconds."""
    await renew_topics(kafka)
    return kafka


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        skip("chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        await browser.close()
