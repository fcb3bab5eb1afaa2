"""Fetches that tell the broker only what has changed: nothing is missed, whatever becomes of the session."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v4, FetchRequest_v11

from shared.ids import new_id
from shared.messaging.fetch_sessions import Session, SessionFetch, use_sessions

TOPIC = "medled.feedback.v1"
FETCH_SESSION_ID_NOT_FOUND = 70
PLACES = [TopicPartition(TOPIC, number) for number in range(6)]
pytestmark = pytest.mark.timeout(90)


@asynccontextmanager
async def reading(bootstrap: str) -> AsyncIterator[tuple[AIOKafkaConsumer, AIOKafkaProducer, list[Any]]]:
    """A reader from the ends on, a producer, and the fetches that went over the wire."""
    client = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=200)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await client.start()
    await producer.start()
    client.assign(PLACES)
    await client.seek_to_end()
    fetches: list[Any] = []
    send = client._client.send

    async def noting(node: int, request: Any, **options: Any) -> Any:
        answer = await send(node, request, **options)
        if isinstance(request, FetchRequest):
            fetches.append((request.build(FetchRequest_v11), answer))
        return answer

    client._client.send = noting
    use_sessions(client)
    try:
        yield client, producer, fetches
    finally:
        await client.stop()
        await producer.stop()


async def read(client: AIOKafkaConsumer, number: int) -> list[bytes]:
    taken: list[Any] = []
    async with asyncio.timeout(20):
        while len(taken) < number:
            for records in (await client.getmany(timeout_ms=500)).values():
                taken += records
    return sorted(record.value for record in taken)


async def publish(producer: AIOKafkaProducer, partition: int) -> bytes:
    value = str(new_id()).encode()
    await producer.send_and_wait(TOPIC, value, partition=partition)
    return value


def told(fetches: list[Any]) -> list[int]:
    """How many partitions each answer names."""
    return [sum(len(partitions) for _, partitions in answer.topics) for _, answer in fetches]


async def test_within_a_session_answers_name_only_where_something_has_come(kafka: str) -> None:
    async with reading(kafka) as (client, producer, fetches):
        assert await client.getmany(timeout_ms=600) == {}
        for number in (0, 3, 3, 5):
            value = await publish(producer, number)
            assert await read(client, 1) == [value]
        assert told(fetches)[0] == 6
        assert max(told(fetches)[2:]) <= 1
        assert fetches[-1][1].session_id != 0


async def test_a_session_that_the_broker_has_forgotten_is_begun_anew_and_nothing_is_missed(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reading(kafka) as (client, producer, fetches):
        await client.getmany(timeout_ms=500)  # what is under way without a session
        first = await publish(producer, 1)
        assert await read(client, 1) == [first]
        (session,) = client._fetcher._client._sessions.values()
        before, changes = session.id, Session.changes

        def of_nobody(session: Session, wanted: Any) -> Any:
            session.id = 12345
            monkeypatch.undo()
            return changes(session, wanted)

        monkeypatch.setattr(Session, "changes", of_nobody)  # the instance has slots
        values = [await publish(producer, number) for number in (1, 2, 4)]
        assert await read(client, 3) == sorted(values)
        assert [answer.error_code for _, answer in fetches if answer.error_code] == [FETCH_SESSION_ID_NOT_FOUND]
        assert session.id not in (0, 12345, before)


async def test_after_a_seek_the_same_records_come_again_and_a_paused_partition_is_left_out_until_it_goes_on(
    kafka: str,
) -> None:
    async with reading(kafka) as (client, producer, _):
        start = await client.position(PLACES[2])
        values = sorted([await publish(producer, 2), await publish(producer, 2)])
        assert await read(client, 2) == values
        client.seek(PLACES[2], start)
        assert await read(client, 2) == values
        client.pause(PLACES[2])
        other, held = await publish(producer, 4), await publish(producer, 2)
        assert await read(client, 1) == [other]
        assert await client.getmany(timeout_ms=700) == {}
        client.resume(PLACES[2])
        assert await read(client, 1) == [held]


async def test_records_go_on_coming_after_a_connection_was_lost(kafka: str) -> None:
    async with reading(kafka) as (client, producer, _):
        await client.getmany(timeout_ms=500)
        for connection in list(client._client._conns.values()):
            connection.close()
        value = await publish(producer, 0)
        assert await read(client, 1) == [value]


def test_a_broker_that_knows_no_sessions_is_asked_as_ever() -> None:
    full = FetchRequest(500, 1, 1000, 0, [(TOPIC, [(0, 7, 100), (1, 8, 100)])])
    wanted = {(TOPIC, 0): (7, 100), (TOPIC, 1): (8, 100)}
    session = Session()
    session.answered(wanted, 0, 5)
    fetch = SessionFetch(full, session, wanted | {(TOPIC, 1): (9, 100)})
    assert fetch.build(FetchRequest_v4).encode() == full.build(FetchRequest_v4).encode()
    built = fetch.build(FetchRequest_v11)
    assert (built.session_id, built.session_epoch) == (5, 1)
    assert built.topics == [(TOPIC, [(1, -1, 9, -1, 100)])]
    assert fetch.topics == full.topics


def test_what_is_wanted_no_more_is_told_once() -> None:
    session = Session()
    both = {(TOPIC, 0): (7, 100), (TOPIC, 1): (8, 100)}
    assert session.changes(both) == (both, [])
    session.answered(both, 0, 5)
    only = {(TOPIC, 0): (7, 100)}
    assert session.changes(only) == ({}, [(TOPIC, 1)])
    session.answered(only, 0, 5)
    assert session.changes(only) == ({}, [])
    session.lost()
    assert (session.id, session.changes(only)) == (5, (only, []))  # with the id, so that the broker drops the old one
