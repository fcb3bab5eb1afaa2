"""Whoever can write to the topics: hostile records on every topic, before the real handlers of all four services."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from shared.events import (
    REGISTRY,
    AccessState,
    Event,
    Group,
    InvitationIssued,
    PersonState,
    PrincipalKind,
    UnitState,
)
from shared.events.contract.schema import example_of
from shared.events.envelope import MOST_FACTS, Header
from shared.ids import new_id
from shared.messaging.handler import Record
from shared.messaging.inbox import MAX_SEQUENCE_STEP
from shared.postgres.pool import Pool
from tests.shared.records import raw_record, record_of
from tests.support.databases import Databases
from tests.support.services import At, every_service

TOPICS = sorted({event.topic for event in REGISTRY.values()})
_BOOKKEEPING = ("set_aside", "outbox", "inbox_offsets", "handler_offsets", "inbox_skipped")


@pytest.fixture
async def services(database: Databases) -> AsyncIterator[dict[str, At]]:
    async with every_service(database) as services:
        yield services


@dataclass(frozen=True)
class Hostile:
    """A record, and the reason it is to be refused with. by_value: it shows only to who takes its type and looks."""

    record: Record
    reason: str
    by_value: bool
    type: str


def like(record: Record, topic: str | None = None, **changes: bytes | None) -> Record:
    """The record with another topic, key or value, or other `ce_` headers."""
    headers: list[Header] = [(name, changes.get(name, value)) for name, value in record.headers]
    return raw_record(
        topic or record.topic, changes.get("key", record.key), changes.get("value", record.value), headers
    )


def hostile_records() -> Iterator[Hostile]:
    """Of each type: on two topics of others, from another source, about and under another id, garbage, far ahead."""
    for nth, event in enumerate(REGISTRY.values()):
        true, other = record_of(example_of(event)), str(new_id()).encode()
        others = [topic for topic in TOPICS if topic != event.topic]
        source = b"/medled/enrolment" if event.source != "/medled/enrolment" else b"/medled/portal"
        somebody = b"/shop/orders"
        made: Sequence[tuple[Record, str, bool]] = [
            (like(true, topic=others[nth % len(others)]), "wrong_topic", False),
            (like(true, topic=others[(nth + 3) % len(others)]), "wrong_topic", False),
            (like(true, ce_source=source), "wrong_topic", False),
            (like(true, ce_source=somebody), "foreign", False),
            (like(true, ce_subject=other), "wrong_topic", True),
            (like(true, key=other), "wrong_topic", True),
            (like(true, key=None), "wrong_topic", True),
            (like(true, key=b"\xff\0"), "wrong_topic", True),
            (like(true, ce_sequence=str(2**63 - 1).encode()), "sequence_jump", False),
            (like(true, ce_sequence=str(MOST_FACTS + 1).encode()), "sequence_jump", False),
            (like(true, ce_sequence=b"-1"), "undecodable", False),
            (like(true, ce_id=None), "undecodable", False),
            (like(true, value=b'{"x": "\\u0000"}'), "undecodable", True),
            (like(true, value=b"\x00\xff" * 50), "undecodable", True),
            (like(true, value=None, key=other), "wrong_topic" if event.compacted else "undecodable", True),
            (like(true, value=None, ce_subject=other), "wrong_topic" if event.compacted else "undecodable", True),
        ]
        yield from (Hostile(record, reason, by_value, event.type) for record, reason, by_value in made)


async def holds(pool: Pool) -> dict[str, int]:
    """How many rows each table has, but for the kernel's account of what it refused."""
    tables = await pool.fetch("select tablename from pg_tables where schemaname = 'public'")
    names = [row["tablename"] for row in tables if row["tablename"] not in _BOOKKEEPING]
    return {name: await pool.fetchval(f"select count(*) from {name}") for name in names}


async def test_hostile_records_on_every_topic_are_dead_letters_without_effect_and_what_is_true_comes_after_them(
    services: dict[str, At],
) -> None:
    hostile = list(hostile_records())
    assert {each.record.topic for each in hostile} == set(TOPICS)
    for at in services.values():
        before = await holds(at.pool)
        await at.handle(*[each.record for each in hostile])
        taken = at.worker.consumer.handlers.by_type
        seen = [
            each for each in hostile if each.record.topic in at.topics and (not each.by_value or each.type in taken)
        ]
        assert Counter(await at.reasons()) == Counter(each.reason for each in seen), at.service
        assert await holds(at.pool) == before, at.service
        assert await at.pool.fetchval("select count(*) from outbox where type <> 'dead-letter'") == 0

        await at.handle(*[record_of(example_of(event)) for event in REGISTRY.values()])
        assert len(await at.reasons()) == len(seen), "none of what is true was refused"
        missing = await at.pool.fetchval(
            "select count(*) from inbox where outcome not in ('applied', 'superseded', 'parked')"
        )
        assert missing == 0
        assert await at.pool.fetchval("select count(*) from inbox") >= len(taken)


async def test_an_access_state_on_a_topic_that_is_not_its_own_makes_nobody_operator(services: dict[str, At]) -> None:
    person = new_id()
    operator = AccessState(
        principal=f"person:{person}", kind=PrincipalKind.person, person_id=person, name="x", roles={"operator": None}
    )
    true = record_of(operator)
    forged = [like(true, topic=topic) for topic in TOPICS if topic != operator.topic]
    forged += [
        like(true, ce_source=b"/medled/portal"),
        like(true, key=str(person).encode()),
        like(true, ce_subject=f"person:{new_id()}".encode()),
    ]
    for at in services.values():
        await at.handle(*forged)
        await at.replay()
        assert set(await at.reasons()) == {"wrong_topic"}
        assert await at.pool.fetchval("select count(*) from access") == 0, at.service


def somebody(unit: UUID) -> PersonState:
    return example_of(PersonState).model_copy(update={"person_id": new_id(), "unit_id": unit})  # type: ignore[return-value] # an example is of its class


@pytest.mark.parametrize("service", ["feedback", "notifications", "portal"])
async def test_a_tombstone_under_a_wrong_key_or_on_another_topic_takes_nobody_away(
    services: dict[str, At], service: str
) -> None:
    at = services[service]
    unit = UnitState(unit_id=new_id(), name="Care North")
    access = AccessState(principal="machine:1", kind=PrincipalKind.machine, name="HR", roles={"stream_reader": None})
    states: list[Event] = [unit, somebody(unit.unit_id), access]
    await at.handle(*[record_of(state) for state in states])
    there = await holds(at.pool)
    for state in states:
        gone = like(record_of(state, sequence=2), value=None)
        await at.handle(
            *[like(gone, topic=topic) for topic in TOPICS if topic != state.topic],
            like(gone, key=str(new_id()).encode()),
            like(gone, ce_subject=b"everybody"),
            like(gone, key=b"every one", ce_subject=b"every one"),
            like(gone, ce_source=b"/medled/portal"),
            like(gone, ce_sequence=str(2 + MAX_SEQUENCE_STEP).encode()),
        )
    held = await holds(at.pool)
    assert [held[table] for table in ("people", "units", "access")] == [1, 1, 1]
    assert there["people"] == 1
    for state in states:
        await at.handle(like(record_of(state, sequence=2), value=None))
    held = await holds(at.pool)
    assert [held[table] for table in ("people", "units", "access")] == [0, 0, 0], "true ones do"


async def test_a_state_far_ahead_blocks_nothing_that_is_true(services: dict[str, At]) -> None:
    at = services["notifications"]
    person = somebody(new_id())
    forged = person.model_copy(update={"email": "thief@example.net"})
    await at.handle(record_of(person))
    for sequence in (2**63 - 1, MOST_FACTS, MAX_SEQUENCE_STEP + 2):
        await at.handle(record_of(forged, sequence=sequence))
    await at.replay()
    await at.handle(record_of(person.model_copy(update={"email": "new@example.org"}), sequence=2))
    assert await at.pool.fetchval("select email from people") == "new@example.org"
    assert set(await at.reasons()) == {"sequence_jump"}


async def test_a_forged_invitation_for_one_that_is_known_sends_nobody_its_link(services: dict[str, At]) -> None:
    at = services["notifications"]
    unit = new_id()
    respondent, thief, subject = somebody(unit), somebody(unit), somebody(unit)
    await at.handle(*[record_of(person) for person in (respondent, thief, subject)])
    true = InvitationIssued(
        invitation_id=new_id(), round_id=new_id(), respondent_id=respondent.person_id,
        subject_person_id=subject.person_id, group=Group.peer, closes_at=datetime.now(UTC) + timedelta(days=14),
        unit_id=unit, programme_id=new_id(),
    )  # fmt: skip
    await at.handle(record_of(true))
    for changes in ({"respondent_id": thief.person_id}, {"respondent_id": thief.person_id, "round_id": new_id()}):
        await at.handle(record_of(true.model_copy(update=changes), sequence=2))
    await at.replay()
    assert await at.reasons() == ["conflict", "conflict"]
    told = await at.pool.fetch("select recipient_id from messages")
    assert [row["recipient_id"] for row in told] == [respondent.person_id]
