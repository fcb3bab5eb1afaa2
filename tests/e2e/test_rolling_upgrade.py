"""Workers of 0.1.1 and of this version side by side in one group, on one schema, while the journey is played.

The schema is this version's: `migrate` comes before the first new worker. What 0.1.1 is made of lies in tests/data.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from deploy.demo.play import play
from deploy.demo.sample import Cast, load_organisation
from deploy.embedded.process import Child, free_port
from deploy.local import Options, running
from deploy.services import SERVICES
from deploy.stack import Stack
from tests.support.released import begin, unpack_code
from tests.support.workers import THIS_CODE, another_worker, events_of, had_a_share

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

VERSION = "0.1.1"
PATIENCE_SECONDS = 60
APPLICANTS = len(Cast(load_organisation()).applicants)
Workers = Mapping[str, Child]  # by service


class Play:
    """The journey, played beside whatever happens to the workers meanwhile."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._told: list[str] = []
        self._playing = asyncio.create_task(play(stack, self._told.append))

    async def comes_to(self, scene: str) -> None:
        """Return when this scene begins."""
        await self._until(scene, lambda: any(line.endswith(scene) for line in self._told))

    async def have_shares(self, *workers: Workers) -> None:
        """Return when each of them holds partitions."""
        await self._until("all have shares", lambda: all(map(had_a_share, _each(*workers))))

    async def everybody_has_asked(self) -> None:
        """Return when all requests for a place are in."""
        conn = await asyncpg.connect(self.stack.databases["enrolment"])
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await conn.fetchval("select count(*) from enrolments") < APPLICANTS:
                    await asyncio.sleep(0.1)
        finally:
            await conn.close()

    async def ends_well(self) -> None:
        """Everything ties up, `medled verify` is clean, and nothing was set aside."""
        outcome = await self._playing
        assert [line for line in outcome.lines if not line.ties_up] == []
        assert outcome.verified.clean, outcome.verified
        assert outcome.verified.published > 600
        for service, dsn in self.stack.databases.items():
            conn = await asyncpg.connect(dsn)
            try:
                assert await conn.fetch("select handler, topic, reason, detail from set_aside") == [], service
            finally:
                await conn.close()

    async def _until(self, what: str, truth: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not truth():
                if self._playing.done():
                    await self._playing
                    pytest.fail(f"the play ended before: {what}")
                await asyncio.sleep(0.1)

    async def __aenter__(self) -> "Play":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._playing.cancel()
        await asyncio.gather(self._playing, return_exceptions=True)


@contextmanager
def stack_without_workers(data: Path, kafka: str) -> Iterator[Stack]:
    workers = [f"{service}-worker" for service in SERVICES]
    options = Options(data, port=free_port(), broker=kafka, elsewhere=workers)
    with running(options, lambda _: None) as (stack, _):
        yield stack


class Crew:
    """Starts workers of either version, and ends them with the test."""

    def __init__(self, stack: Stack, folder: Path, old: Path) -> None:
        self._stack, self._folder, self._old = stack, folder, old
        self._started: list[Workers] = []

    def old(self) -> Workers:
        """A worker of 0.1.1 for each service."""
        return self._start("old", self._old)

    def new(self) -> Workers:
        """A worker of this version for each service."""
        return self._start("new", THIS_CODE)

    def _start(self, name: str, code: Path) -> Workers:
        name = f"{name}-{len(self._started)}"
        workers = {service: another_worker(self._stack, service, self._folder, name, code) for service in SERVICES}
        self._started.append(workers)
        for worker in workers.values():
            worker.start()
        return workers

    def end(self) -> None:
        workers = _each(*self._started)
        for worker in workers:
            worker.signal_stop()
        for worker in workers:
            worker.stop()


@pytest.fixture
def old_code(tmp_path: Path) -> Path:
    return unpack_code(VERSION, tmp_path / VERSION)


@pytest.fixture
def upgraded(fresh_kafka: str, old_code: Path, tmp_path: Path) -> Iterator[Stack]:
    """Databases that 0.1.1 made and used, migrated."""
    begin(VERSION, old_code, tmp_path / "data")
    with stack_without_workers(tmp_path / "data", fresh_kafka) as stack:
        yield stack


@pytest.fixture
def fresh(fresh_kafka: str, tmp_path: Path) -> Iterator[Stack]:
    """Databases that this version made."""
    with stack_without_workers(tmp_path / "data", fresh_kafka) as stack:
        yield stack


async def test_old_workers_run_new_ones_join_and_the_old_ones_leave(
    upgraded: Stack, old_code: Path, tmp_path: Path
) -> None:
    with closing_crew(upgraded, tmp_path, old_code) as crew:
        old = crew.old()
        async with Play(upgraded) as journey:
            await journey.comes_to("People ask for a place")
            await journey.have_shares(old)
            new = crew.new()
            await journey.have_shares(new)
            await journey.everybody_has_asked()
            await leave(old, "notifications")
            await journey.comes_to("People around answer")
            await leave(old)
            await journey.ends_well()
        mail_waited_for_a_new_worker(old)


async def test_new_workers_run_old_ones_join_and_the_new_ones_leave(
    fresh: Stack, old_code: Path, tmp_path: Path
) -> None:
    with closing_crew(fresh, tmp_path, old_code) as crew:
        new = crew.new()
        async with Play(fresh) as journey:
            await journey.comes_to("People ask for a place")
            await journey.have_shares(new)
            old = crew.old()
            await journey.have_shares(old)
            await journey.everybody_has_asked()
            await leave(old, "notifications")
            await leave(new, "enrolment", "feedback", "portal")
            await journey.comes_to("People around answer")
            again = crew.new()
            await journey.have_shares(again)
            await leave(old)
            await journey.ends_well()
        mail_waited_for_a_new_worker(old)


async def leave(workers: Workers, *services: str) -> None:
    """End those of these services, or all, as an orchestrator does."""
    ending = [worker for service, worker in workers.items() if service in (services or SERVICES)]
    for worker in ending:
        worker.signal_stop()
    for worker in ending:
        await asyncio.to_thread(worker.stop)


def mail_waited_for_a_new_worker(old: Workers) -> None:
    """0.1.1's notifications cannot write to the new tables: it is told to wait, and does."""
    assert events_of(old["notifications"], "database unavailable, batch waits")


@contextmanager
def closing_crew(stack: Stack, folder: Path, old: Path) -> Iterator[Crew]:
    crew = Crew(stack, folder, old)
    try:
        yield crew
    finally:
        crew.end()


def _each(*workers: Workers) -> list[Child]:
    return [worker for group in workers for worker in group.values()]
