"""A handler that was added later is given what lies behind, on a real broker, and `medled verify` sees it so."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import httpx
import pytest

from deploy.embedded.process import free_port
from deploy.verify import Report, verify
from shared.events import EnrolmentRequested
from shared.messaging import catch_up, epoch, history
from shared.messaging.handler import Handler, Received
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction
from shared.settings import Settings
from tests.support.backbone import publish, requested, running, until
from tests.support.databases import Databases
from tests.support.settings import make_settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

Hook = Callable[[Sequence[Received[Any]]], Awaitable[None]]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "POLL_SECONDS", 0.1)


def keeping(name: str, *, begins: Literal["beginning", "now"] = "beginning", hook: Hook | None = None) -> Handler:
    """A handler that leaves a row for each event in a table of its own, and two when it is given one twice."""

    async def apply(conn: Connection, events: Sequence[Received[Any]], _: datetime) -> None:
        await conn.execute(f"create table if not exists {name} (caused_by uuid)")
        await conn.executemany(f"insert into {name} values ($1)", [(event.id,) for event in events])
        if hook is not None:
            await hook(events)

    return Handler(f"test.{name}", (EnrolmentRequested,), apply, "every_fact", f"{name}.caused_by", begins=begins)


MARKERS = 12  # at most, which the fence of the producer's relay leaves in the topic's six partitions
FIRST, LATER = keeping("first"), keeping("later")


@dataclass(frozen=True)
class House:
    """A producer that runs, and a consumer whose versions come and go."""

    bootstrap: str
    databases: dict[str, str]
    consuming: Settings
    producer: Pool

    @asynccontextmanager
    async def version(self, *handlers: Handler) -> AsyncIterator[Pool]:
        """A worker of the version that has these handlers."""
        settings = self.consuming.model_copy(update={"port": free_port()})
        async with running(settings, "portal", handlers) as pool:
            yield pool

    async def publish(self, count: int) -> list[UUID]:
        """Ids of all events so far, these included."""
        return await publish(self.producer, [requested() for _ in range(count)])

    async def verify(self, *handlers: Handler, wait: float = 20) -> Report:
        return await verify(self.databases, self.bootstrap, {"portal": handlers}, wait=wait)


@pytest.fixture
async def house(fresh_kafka: str, database: Databases) -> AsyncIterator[House]:
    databases = {service: await database(service) for service in ("enrolment", "portal")}
    producing, consuming = [
        make_settings(
            Settings, dsn, port=free_port(), kafka_bootstrap=fresh_kafka, kafka_transactions=True, batch_size=10
        )
        for dsn in databases.values()
    ]
    async with running(producing, "enrolment") as producer:
        yield House(fresh_kafka, databases, consuming, producer)


async def kept(pool: Pool, name: str) -> list[UUID]:
    if not await pool.fetchval("select to_regclass($1) is not null", name):
        return []
    return sorted(row["caused_by"] for row in await pool.fetch(f"select caused_by from {name}"))


async def until_kept(pool: Pool, name: str, ids: Sequence[UUID]) -> None:
    async def all_kept() -> bool:
        return await kept(pool, name) == sorted(ids)

    await until(all_kept)


async def until_met(pool: Pool, handler: Handler) -> None:
    async def met() -> bool:
        return bool(await pool.fetchval("select true from handler_pairs where handler = $1", handler.name))

    await until(met)


async def test_a_handler_that_is_added_later_is_given_what_lies_behind_once_and_verify_is_clean(house: House) -> None:
    async with house.version(FIRST) as pool:
        ids = await house.publish(35)
        await until_kept(pool, "first", ids)
        await pool.execute("create table later (caused_by uuid)")  # as a migration does, before the new worker is up
        early = await house.verify(FIRST, LATER, wait=0)
    assert (early.lost, [each.waiting for each in early.subscriptions if each.handler == LATER.name]) == (0, [35])
    [words] = early.under_way
    told = re.fullmatch(r"portal's test.later lacks up to (\d+) records, which older workers handle without it", words)
    assert told is not None
    assert 35 <= int(told[1]) <= 35 + MARKERS
    async with house.version(FIRST, LATER) as pool:
        ids = await house.publish(5)
        await until_kept(pool, "later", ids)
        await until_kept(pool, "first", ids)
        report = await house.verify(FIRST, LATER)
        assert report.clean, report
        assert {(each.handler, each.applied) for each in report.subscriptions} == {(FIRST.name, 40), (LATER.name, 40)}
        assert (await house.verify(LATER)).remarks[-1].startswith("portal no longer has test.first")


async def test_what_a_handler_cannot_take_of_its_history_is_a_dead_letter_and_the_rest_goes_on(house: House) -> None:
    bad: list[UUID] = []

    async def fail(events: Sequence[Received[Any]]) -> None:
        if any(event.id in bad for event in events):
            raise ValueError("this one cannot be")

    async with house.version(FIRST) as pool:
        ids = await house.publish(25)
        await until_kept(pool, "first", ids)
    bad.append(ids[7])
    failing = keeping("later", hook=fail)
    async with house.version(FIRST, failing) as pool:
        await until_kept(pool, "later", [each for each in ids if each not in bad])
        report = await house.verify(FIRST, failing)
        assert report.clean, report
        assert [(row["handler"], row["event_id"]) for row in await pool.fetch("select * from set_aside")] == [
            (failing.name, bad[0])
        ]


async def test_a_killed_worker_s_catching_up_is_continued_by_the_next_while_live_events_go_on(house: House) -> None:
    seen = 0

    async def hang(events: Sequence[Received[Any]]) -> None:
        nonlocal seen
        seen += len(events)
        if seen > 20:
            await asyncio.Event().wait()

    async with house.version(FIRST) as pool:
        ids = await house.publish(60)
        await until_kept(pool, "first", ids)
    async with house.version(FIRST, keeping("later", hook=hang)) as pool:

        async def hangs() -> bool:
            return seen > 20

        await until(hangs)
        assert len(await kept(pool, "later")) >= 10
    async with house.version(FIRST, LATER) as pool:
        more = await house.publish(5)
        await until_kept(pool, "first", more)
        await until_kept(pool, "later", more)
        assert (await house.verify(FIRST, LATER)).clean


async def test_what_an_older_worker_handles_in_between_is_not_lost_to_a_newer_handler(house: House) -> None:
    now = keeping("afterwards", begins="now")
    async with house.version(FIRST) as pool:
        before = await house.publish(10)
        await until_kept(pool, "first", before)
    for handlers in ((FIRST, LATER, now), (FIRST,), (FIRST, LATER, now)):
        async with house.version(*handlers) as pool:
            if now in handlers:
                await until_met(pool, now)
            ids = await house.publish(10)
            await until_kept(pool, "first", ids)
            if LATER in handlers:
                await until_kept(pool, "later", ids)
                await until_kept(pool, "afterwards", ids[len(before) :])
    assert len(ids) == 40
    async with house.version(FIRST, LATER, now) as pool:
        report = await house.verify(FIRST, LATER, now)
        assert report.clean, report
        assert {each.handler: each.published for each in report.subscriptions}[now.name] == 30


async def test_a_replay_makes_a_projection_anew_from_the_newest_while_it_is_read(house: House) -> None:
    """One that keeps the newest event of each subject: rows that are wrong become right, and none is gone meanwhile."""

    async def project(conn: Connection, events: Sequence[Received[Any]], _: datetime) -> None:
        await conn.execute("create table if not exists seen (subject text primary key, sequence bigint, told uuid)")
        for event in events:
            await conn.execute(
                """
                insert into seen values ($1, $2, $3) on conflict (subject) do update
                set told = excluded.told, sequence = excluded.sequence where seen.sequence <= excluded.sequence
                """,
                event.subject, event.sequence, event.id,
            )  # fmt: skip

    state = Handler("test.seen", (EnrolmentRequested,), project, "latest_state")
    async with house.version(FIRST, state) as pool:
        events = [requested() for _ in range(12)]
        await publish(house.producer, events)
        ids = await publish(house.producer, events)  # each subject has a newer event now
        newest = "select array_agg(told order by told) from seen"

        async def right() -> bool:
            return bool(
                await pool.fetchval("select to_regclass('seen') is not null")
                and await pool.fetchval(newest) == sorted(ids[12:])
            )

        await until(right)
        await pool.execute("update seen set told = gen_random_uuid()")
        async with transaction(pool) as conn:
            life = await epoch.load_epoch(conn, "consumer")
            assert life is not None
            assert await history.begin_replay(conn, "portal", life, state) > 0
            assert [each.again for each in await history.handler_lags(conn, "portal", life, [state])] == [True]
        await until(right)
        assert (await house.verify(FIRST, state)).clean
        assert await pool.fetchval("select count(*) from seen") == 12
        assert await kept(pool, "first") == sorted(ids)


async def test_a_worker_that_is_ready_tells_what_its_handlers_lack(house: House) -> None:
    async def hang(_: Sequence[Received[Any]]) -> None:
        await asyncio.Event().wait()

    async with house.version(FIRST) as pool:
        await until_kept(pool, "first", await house.publish(15))
    settings = house.consuming.model_copy(update={"port": free_port()})
    address = f"http://127.0.0.1:{settings.port}"
    async with (
        running(settings, "portal", [FIRST, keeping("later", hook=hang)]),
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
    ):
        told: dict[str, Any] = {}

        async def tells() -> bool:
            nonlocal told
            with suppress(httpx.TransportError):  # it is still starting
                told = (await client.get("/health/ready")).json()
            return bool(told.get("consumer", {}).get("catching_up"))

        await until(tells)
        assert told["consumer"]["catching_up"].keys() == {LATER.name}
        assert 15 <= told["consumer"]["catching_up"][LATER.name] <= 15 + MARKERS
