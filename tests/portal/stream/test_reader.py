"""Readers of the open stream lose nothing, are told of gaps, and cost bounded memory."""

import asyncio
import random
import time
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from weakref import ref

from services.portal.dashboard.domain import Within
from services.portal.dashboard.snapshot import Snapshots
from services.portal.stream import store
from services.portal.stream.domain import StreamFilter
from services.portal.stream.follower import Chunk, Follower
from services.portal.stream.handlers import append_entries
from services.portal.stream.reader import LiveResponse
from services.portal.stream.slots import Slots
from shared.events import EnrolmentActivated, EnrolmentDeclined, EnrolmentRequested
from shared.ids import new_id
from shared.postgres.pool import Pool
from shared.postgres.transaction import transaction
from tests.portal.conftest import Take
from tests.portal.facts import NOW, TRACE_ID, Organisation
from tests.portal.stream.conftest import Stream, running


async def test_what_comes_in_the_moment_a_wait_ends_is_taken() -> None:
    loop, follower = asyncio.get_running_loop(), Follower(StreamFilter(), 0, 1000)
    taking = asyncio.create_task(follower.take(0.01))
    await asyncio.sleep(0)
    loop.call_later(0.02, follower.offer, [Chunk.of(7, b"x")])
    loop.call_soon(time.sleep, 0.05)  # now both are due in one turn of the loop, the end of the wait first
    assert await taking == b"x"
    assert follower.position == 7


async def entries(stream: Stream, count: int, **how: Any) -> list[int]:
    """The positions of the first `count` entries a reader gets."""
    seen: list[int] = []
    async with aclosing(stream.read(**how)) as messages:
        async for message in messages:
            if message.event == "message":
                seen.append(message.data["position"])
                if len(seen) == count:
                    break
    return seen


async def positions(pool: Pool) -> list[int]:
    async with transaction(pool) as conn:
        return [row["position"] for row in await conn.fetch("select position from stream order by position")]


async def requests(take: Take, count: int) -> Organisation:
    organisation = Organisation()
    for _ in range(count):
        organisation.enrolment(EnrolmentRequested)
    await take(organisation.told)
    return organisation


async def test_readers_who_keep_reconnecting_get_every_event_once_and_in_order_while_writers_run(
    pool: Pool, stream: Stream
) -> None:
    total, writers = 600, 6

    async def write(number: int) -> None:
        chaos = random.Random(number)
        facts = Organisation()
        for _ in range(total // writers):
            facts.enrolment(EnrolmentRequested)
        while facts.told:
            batch = [facts.told.pop() for _ in range(min(len(facts.told), chaos.randint(1, 9)))]
            async with transaction(pool) as conn:
                await append_entries(conn, batch, NOW)
                await asyncio.sleep(chaos.uniform(0, 0.01))  # commits late, while others have later positions to take

    async def follow(number: int) -> list[int]:
        chaos = random.Random(1000 + number)
        seen: list[int] = []
        while len(seen) < total:
            got = await entries(stream, min(total - len(seen), chaos.randint(1, 80)), after=seen[-1] if seen else 0)
            seen += got
        return seen

    followers = [asyncio.create_task(follow(number)) for number in range(5)]
    await asyncio.gather(*(write(number) for number in range(writers)))
    expected = await positions(pool)
    assert len(expected) == total
    for follower in followers:
        assert await follower == expected


async def test_positions_become_visible_in_their_own_order(pool: Pool) -> None:
    first, second = Organisation(), Organisation()
    first.enrolment(EnrolmentRequested)
    second.enrolment(EnrolmentRequested)
    order: list[str] = []

    async def late() -> None:
        async with transaction(pool) as conn:
            await append_entries(conn, second.told, NOW)
        order.append("second")

    async with transaction(pool) as conn:
        await append_entries(conn, first.told, NOW)
        task = asyncio.create_task(late())
        await asyncio.sleep(0.2)
        order.append("first")
    await task
    assert order == ["first", "second"]
    async with transaction(pool) as conn:
        rows = await conn.fetch("select caused_by from stream order by position")
    assert [row["caused_by"] for row in rows] == [first.told[0].id, second.told[0].id]


async def test_a_new_reader_gets_the_figures_first_and_then_only_what_is_new(stream: Stream, take: Take) -> None:
    await requests(take, 3)
    async with aclosing(stream.read()) as messages:
        greeting = await anext(messages)
        assert (greeting.event, greeting.data["enrolments"]["requested"]) == ("snapshot", 3)
        assert greeting.id == greeting.data["position"]
        await requests(take, 1)
        new = await anext(messages)
        assert new.event == "message"
        assert new.id == new.data["position"] > (greeting.id or 0)
        assert new.data["trace"] == TRACE_ID
        assert new.data["event"]["type"] == "medled.enrolment.requested.v1"
        assert set(new.data["text"]) == {"sv", "en"}
        figures = await anext(messages)
        assert (figures.event, figures.id, figures.data["enrolments"]["requested"]) == ("figures", None, 4)


async def test_a_reader_older_than_the_window_is_told_of_the_gap_and_gets_what_is_kept(
    pool: Pool, stream: Stream, take: Take
) -> None:
    await requests(take, 5)
    known = await positions(pool)
    async with transaction(pool) as conn:
        assert await store.prune(conn, NOW.replace(year=2027), limit=3) == 3
    async with aclosing(stream.read(after=known[0])) as messages:
        assert (await anext(messages)).event == "snapshot"
        gap = await anext(messages)
        assert (gap.event, gap.id) == ("gap", known[2])
        assert gap.data == {"asked": known[0], "kept_after": known[2], "reason": "expired"}
        assert [(await anext(messages)).id, (await anext(messages)).id] == known[3:]


async def test_a_reader_at_the_edge_of_the_window_has_no_gap(pool: Pool, stream: Stream, take: Take) -> None:
    await requests(take, 3)
    known = await positions(pool)
    async with transaction(pool) as conn:
        await store.prune(conn, NOW.replace(year=2027), limit=2)
    async with aclosing(stream.read(after=known[1])) as messages:
        greeting = await anext(messages)
        assert (greeting.event, greeting.id) == ("snapshot", None)
        assert (await anext(messages)).id == known[2]


async def test_a_position_the_stream_never_reached_is_a_gap(stream: Stream, take: Take) -> None:
    await requests(take, 2)
    async with aclosing(stream.read(after=10_000)) as messages:
        assert (await anext(messages)).event == "snapshot"
        gap = await anext(messages)
        assert (gap.event, gap.data["reason"], gap.id) == ("gap", "unknown_position", 0)
        assert [(await anext(messages)).id, (await anext(messages)).id] == [1, 2]


async def test_filters_let_through_only_what_was_asked_for_live_and_when_resuming(stream: Stream, take: Take) -> None:
    here, there = new_id(), new_id()
    facts = Organisation(unit=here)
    facts.enrolment(EnrolmentRequested, EnrolmentDeclined)
    facts.enrolment(EnrolmentRequested, EnrolmentActivated, unit=there)
    await take(facts.told)
    wanted = StreamFilter(frozenset({"medled.enrolment.requested.v1"}), Within(units=frozenset({there})))
    kept = await entries(stream, 1, wanted=wanted, after=0)
    live = asyncio.create_task(entries(stream, 1, wanted=wanted, after=kept[0]))
    await asyncio.sleep(0.1)
    more = Organisation(unit=here)
    more.enrolment(EnrolmentRequested)
    more.enrolment(EnrolmentRequested, unit=there)
    await take(more.told)
    assert kept == [3]
    assert await live == [6]


async def test_a_reader_slower_than_its_buffer_reads_on_from_the_database_and_loses_nothing(
    pool: Pool, take: Take
) -> None:
    async with running(pool, buffer_bytes=4096) as stream, aclosing(stream.read()) as messages:
        await anext(messages)
        first = asyncio.ensure_future(anext(messages))  # attached and waiting
        await asyncio.sleep(0.1)
        for _ in range(40):
            await requests(take, 5)
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert len(stream.broadcaster) == 0  # let go of, so it costs nothing while it sleeps
        expected = await positions(pool)
        seen = [await first]
        while seen[-1].id != expected[-1]:
            seen.append(await anext(messages))
    assert [message.id for message in seen if message.event == "message"] == expected


def test_a_buffer_holds_no_more_than_its_limit() -> None:
    follower = Follower(StreamFilter(), position=0, limit=1000)
    for position in range(1, 100):
        follower.offer([Chunk.of(position, b"x" * 300)])
    assert follower.overrun
    assert not follower._waiting
    assert follower.position == 0  # nothing was taken, so it resumes from where it was


def test_readers_with_different_filters_share_the_frames_that_they_have_not_taken() -> None:
    kinds = [EnrolmentRequested.type, EnrolmentDeclined.type]
    readers = [Follower(StreamFilter(frozenset(kinds[:count])), position=0, limit=10**6) for count in (1, 2)]
    frame = b"x" * 3000
    for reader in readers:
        reader.offer([Chunk.of(position, frame) for position in range(1, 101)])
    held = {id(frame) for reader in readers for chunk in reader._waiting for frame in chunk.frames}
    assert held == {id(frame)}


async def test_what_is_sent_at_once_is_bounded_and_the_position_is_of_what_was_sent() -> None:
    reader = Follower(StreamFilter(), position=0, limit=10**6)
    reader.offer([Chunk.of(position, b"x" * 3000) for position in range(1, 101)])
    total = 0
    while body := await reader.take(0.01):
        assert len(body) <= 65_536
        total += len(body)
        assert reader.position == total // 3000
    assert total == 300_000


async def test_events_do_not_wait_for_figures(pool: Pool, stream: Stream, take: Take) -> None:
    parts = [StreamFilter(within=Within(units=frozenset({new_id()}))) for _ in range(5)]
    async with aclosing(stream.read()) as messages, pool.acquire() as conn:
        await anext(messages)
        others = [asyncio.create_task(entries(stream, 1, wanted=part)) for part in parts]
        attached = asyncio.ensure_future(anext(messages))
        while len(stream.broadcaster) < 6:
            await asyncio.sleep(0.01)
        assert (await attached).event == "figures"
        blocking = conn.transaction()
        await blocking.start()
        await conn.execute("lock table rounds in access exclusive mode")  # counting waits for this, reading does not
        for _ in range(3):
            await requests(take, 1)
            async with asyncio.timeout(10):
                while (await anext(messages)).event != "message":
                    pass
        await blocking.rollback()
        async for message in messages:
            if message.event == "figures" and message.data["enrolments"]["requested"] == 3:
                break
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def test_a_part_is_counted_once_for_all_who_ask_together_even_if_one_of_them_leaves(pool: Pool) -> None:
    snapshots, part = Snapshots(pool), Within(units=frozenset({new_id()}))
    async with asyncio.timeout(10):
        first, again = await asyncio.gather(snapshots.recent(part), snapshots.recent(part))
        assert first is again, "counted once for all who ask together"
        leaving = asyncio.create_task(snapshots.recent(Within()))
        staying = asyncio.create_task(snapshots.recent(Within()))
        await asyncio.sleep(0)
        leaving.cancel()
        assert (await staying).figures.enrolments["requested"] == 0


async def test_figures_of_parts_that_nobody_looks_at_any_more_are_let_go(pool: Pool) -> None:
    snapshots = Snapshots(pool)
    parts = [frozenset({new_id()}) for _ in range(5)]
    looked_at = [ref(part) for part in parts]
    for part in parts:
        await snapshots.recent(Within(units=part))
    del part, parts
    await asyncio.sleep(1.1)
    await snapshots.recent(Within())
    assert [part() for part in looked_at] == [None] * 5


async def test_readers_of_one_unit_share_its_units_whatever_else_they_ask_for(stream: Stream) -> None:
    ids = [new_id() for _ in range(3)]
    asked = [StreamFilter(within=Within(frozenset(ids), programme=new_id())) for _ in range(4)]
    given = [stream.broadcaster.shared(wanted) for wanted in asked]
    assert given == asked
    assert len({id(wanted.within.units) for wanted in given}) == 1
    assert stream.broadcaster.shared(replace(asked[0])) is given[0]
    assert stream.broadcaster.shared(StreamFilter()) == StreamFilter()


async def test_silence_is_broken_by_a_heartbeat_that_moves_the_position(stream: Stream, take: Take) -> None:
    quick = replace(stream, pace=replace(stream.pace, heartbeat=0.1))
    nothing = StreamFilter(frozenset({"medled.cohort.closed.v1"}))
    async with aclosing(quick.read(nothing)) as messages:
        await anext(messages)
        await anext(messages)
        await requests(take, 4)
        async for message in messages:
            if message.event == "comment" and message.id == 4:
                return


async def test_a_visit_ends_with_a_hint_to_resume(stream: Stream, take: Take) -> None:
    await requests(take, 2)
    brief = replace(stream, pace=replace(stream.pace, visit=0.2))
    messages = [message async for message in brief.read(after=0)]
    assert (messages[-1].event, messages[-1].data) == ("resume", {"after": 2, "reason": "visit_over"})
    assert len(stream.broadcaster) == 0


async def test_a_client_that_takes_nothing_is_let_go_of(stream: Stream) -> None:
    async def body() -> Any:
        async for message in stream.read():
            yield str(message).encode()

    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await asyncio.sleep(3600)

    async with asyncio.timeout(5):
        await LiveResponse(body(), stall=0.1, slot=Slots(1, 1).take("anna")).stream_response(send)
    assert sent == ["http.response.start", "http.response.body"]
    assert len(stream.broadcaster) == 0
