"""What a database knows of its service's handlers, and what it owes them: also one that 0.1.x left. Real Postgres."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from deploy.services import SERVICES, find_service
from shared.events import CohortClosed, EnrolmentRequested
from shared.messaging import history
from shared.messaging.dispatch import Handlers
from shared.messaging.handler import Handler, Received
from shared.messaging.history import Range
from shared.messaging.offsets import applied_offsets, remember_offsets
from shared.postgres.migrate import migrate
from shared.postgres.pool import Connection, Pool, create_pool
from shared.settings import Settings
from tests.shared.records import record_of
from tests.support.backbone import requested
from tests.support.databases import Databases
from tests.support.settings import make_settings

LIFE = UUID(int=1)
TOPIC = EnrolmentRequested.topic


async def nothing(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
    """No effect."""


ONE = Handler("test.one", (EnrolmentRequested,), nothing, "every_fact")
TWO = Handler("test.two", (EnrolmentRequested,), nothing, "every_fact")


class Version:
    """A worker of a version that has these handlers, as far as the database sees it."""

    def __init__(self, conn: Connection, *handlers: Handler, service: str = "portal") -> None:
        self.conn = conn
        self.service = service
        self.handlers = Handlers(service, handlers)

    async def takes_over(self, epoch: UUID = LIFE) -> list[tuple[str, int, int]]:
        """What it finds lacking: handler, from and up to which offset of the first partition."""
        it = self.handlers
        self.begins = await history.register_handlers(self.conn, self.service, it.generation, it.all)
        places = [*(await applied_offsets(self.conn, self.service, epoch)), (TOPIC, 0)]
        await history.take_over_partitions(self.conn, self.service, it.generation, epoch, it.pairs, set(places))
        return [(each.handler, each.next_offset, each.until_offset) for each in await self.lacks(epoch)]

    async def lacks(self, epoch: UUID = LIFE) -> list[Range]:
        return await history.pending_ranges(self.conn, self.service, epoch, self.handlers.pairs)

    async def reads_to(self, offset: int) -> None:
        record = replace(record_of(requested()), offset=offset - 1)
        await remember_offsets(self.conn, self.service, self.handlers.generation, LIFE, [record])


@pytest.fixture
async def conn(database: Databases) -> AsyncIterator[Connection]:
    pool = await create_pool(make_settings(Settings, await database("portal")), name="test")
    async with pool.acquire() as conn:
        yield conn
    await pool.close()


async def test_each_handler_is_owed_what_was_read_without_it_and_no_more(conn: Connection) -> None:
    old, new = Version(conn, ONE), Version(conn, ONE, TWO)
    assert await old.takes_over() == []
    await old.reads_to(10)
    assert await new.takes_over() == [("test.two", 0, 10)]
    await new.reads_to(15)
    assert await old.takes_over() == []
    await old.reads_to(20)
    assert await new.takes_over() == [("test.two", 0, 20)], "what it still lacked, and what the old one read since"
    await history.advance_ranges(conn, "portal", LIFE, [(each, each.until_offset) for each in await new.lacks()])
    assert await new.takes_over() == []
    await old.reads_to(30)
    assert await new.takes_over() == [("test.two", 20, 30)]


async def test_a_handler_that_was_taken_out_and_comes_back_is_owed_what_came_meanwhile(conn: Connection) -> None:
    both, one = Version(conn, ONE, TWO), Version(conn, ONE)
    await both.takes_over()
    await both.reads_to(10)
    await one.takes_over()
    await one.reads_to(25)
    assert await both.takes_over() == [("test.two", 10, 25)]


async def test_a_type_that_is_new_to_a_handler_is_caught_up_alone(conn: Connection) -> None:
    await Version(conn, ONE).takes_over()
    await Version(conn, ONE).reads_to(10)
    wider = Version(conn, replace(ONE, events=(EnrolmentRequested, CohortClosed)))
    await wider.takes_over()
    assert [(each.type, each.until_offset) for each in await wider.lacks()] == [(CohortClosed.type, 10)]


async def test_progress_is_only_noted_on_the_range_that_was_read(conn: Connection) -> None:
    old, new = Version(conn, ONE), Version(conn, ONE, TWO)
    await old.takes_over()
    await old.reads_to(10)
    await new.takes_over()
    [before] = await new.lacks()
    await history.begin_replay(conn, "portal", LIFE, TWO)  # somebody sets it anew meanwhile
    await history.advance_ranges(conn, "portal", LIFE, [(before, 8)])
    assert [(each.next_offset, each.again) for each in await new.lacks()] == [(0, True)]


async def test_what_workers_of_0_1_left_unread_on_a_new_database_is_the_business_of_who_comes_after_them(
    conn: Connection,
) -> None:
    born = await conn.fetchval("select (extract(epoch from at) * 1000)::bigint from handlers_since")
    await conn.execute("insert into inbox_offsets values ('portal', $1, $2, 0, 4)", LIFE, TOPIC)
    first = Version(conn, replace(ONE, begins="now"))
    await first.takes_over()
    assert first.begins == {("test.one", EnrolmentRequested.type): born}
    await first.takes_over()
    assert first.begins == {("test.one", EnrolmentRequested.type): born}


async def test_now_is_when_the_database_came_into_being_for_a_service_that_has_read_nothing(conn: Connection) -> None:
    late = replace(TWO, begins="now")
    born = await conn.fetchval("select (extract(epoch from at) * 1000)::bigint from handlers_since")
    fresh = Version(conn, replace(ONE, begins="now"))
    await fresh.takes_over()
    assert fresh.begins == {("test.one", EnrolmentRequested.type): born}
    await fresh.reads_to(10)
    before = await conn.fetchval("select clock_timestamp()")
    later = Version(conn, replace(ONE, begins="now"), late)
    await later.takes_over()
    assert later.begins["test.two", EnrolmentRequested.type] >= int(before.timestamp() * 1000)
    taken = later.handlers
    taken.begins = later.begins
    assert [each.name for each in taken.handlers_for(EnrolmentRequested.type, int(before.timestamp() * 1000) - 5)] == [
        "test.one"
    ]
    assert len(taken.handlers_for(EnrolmentRequested.type, int(before.timestamp() * 1000) + 60_000)) == 2


@pytest.mark.parametrize("service", SERVICES)
async def test_what_0_1_0_has_handled_is_owed_to_nobody_again_and_all_of_it_to_a_new_handler(
    service: str, database: Databases
) -> None:
    dsn = await database.released("0.1.0", service)
    await asyncio.to_thread(migrate, dsn, find_service(service))
    pool: Pool = await create_pool(make_settings(Settings, dsn), name="test")
    async with pool.acquire() as conn:
        life = await conn.fetchval("select epoch from broker_epoch where role = 'consumer'")
        known = [each for each in find_service(service).handlers if each.name in await _of_0_1(conn)]
        had = [replace(each, events=tuple(await _types_of_0_1(conn, each))) for each in known]
        assert had
        assert await Version(conn, *had, service=service).takes_over(life) == []
        await conn.execute("update inbox_offsets set next_offset = next_offset + 5")  # a worker of 0.1.x goes on
        now = Version(conn, *had, TWO, service=service)
        read = await conn.fetchval("select sum(next_offset) from inbox_offsets where topic = $1", TOPIC)
        lacking = await now.takes_over(life)
        assert {handler for handler, _, _ in lacking} == {"test.two"}
        assert sum(until for _, _, until in lacking) == read
        assert now.begins == {}, "what 0.1.0 had begins where it began"
    await pool.close()


async def _of_0_1(conn: Connection) -> set[str]:
    return {row[0] for row in await conn.fetch("select handler from handler_generations where generation = '0.1'")}


async def _types_of_0_1(conn: Connection, handler: Handler) -> list[Any]:
    rows = await conn.fetch("select type from handler_generations where handler = $1", handler.name)
    return [kind for kind in handler.events if kind.type in {row[0] for row in rows}]
