"""A service's copy of people, units and roles follows the compacted topics."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.context import Context

from shared.directory import handlers as directory
from shared.events.access import AccessState
from shared.events.event import Event
from shared.events.people import PersonState
from shared.events.units import UnitState
from shared.events.vocabulary import PersonStatus, PrincipalKind, Role
from shared.ids import new_id
from shared.messaging.handler import Received
from shared.postgres.pool import Pool, create_pool
from shared.security.machine_tokens import issue_token
from shared.settings import Settings
from tests.support.databases import Databases
from tests.support.settings import make_settings

NOW = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
async def pool(database: Databases) -> AsyncIterator[Pool]:
    pool = await create_pool(make_settings(Settings, await database("notifications")), name="test")
    yield pool
    await pool.close()


def received(data: Event | None, subject: str, sequence: int = 1) -> Received[Any]:
    return Received(
        id=new_id(), type="", source="", subject=subject, time=NOW, sequence=sequence, unit=None, programme=None,
        correlation_id="", causation_id=None, data=data, topic="", partition=0, offset=0, key=subject,
        context=Context(),
    )  # fmt: skip


def person(person_id: UUID, sequence: int = 1, **changes: Any) -> Received[Any]:
    state: dict[str, Any] = {
        "person_id": person_id, "login": "anna", "employee_id": "1", "given_name": "Anna", "family_name": "Berg",
        "email": "anna@example.org", "title": "Planner", "unit_id": new_id(), "manager_id": None,
        "status": PersonStatus.active, "locale": "sv", "time_zone": "Europe/Stockholm",
    }  # fmt: skip
    return received(PersonState(**(state | changes)), str(person_id), sequence)


async def apply(pool: Pool, kind: type[Event], events: Sequence[Received[Any]]) -> None:
    handler = next(handler for handler in directory.handlers() if kind in handler.events)
    async with pool.acquire() as conn:
        await handler.apply(conn, events, NOW)


async def test_a_person_is_stored_then_changed_then_forgotten(pool: Pool) -> None:
    anna, manager = new_id(), new_id()
    await apply(pool, PersonState, [person(anna)])
    await apply(pool, PersonState, [person(anna, 2, login=None, title=None, manager_id=manager, status="on_leave")])
    row = await pool.fetchrow("select * from people")
    assert row is not None
    assert (row["login"], row["title"], row["manager_id"], row["status"]) == (None, None, manager, "on_leave")
    await apply(pool, PersonState, [received(None, str(anna), 3)])
    assert await pool.fetch("select from people") == []


async def test_only_the_newest_state_of_a_batch_counts_whatever_its_order(pool: Pool) -> None:
    anna, bo, gone = new_id(), new_id(), new_id()
    await apply(pool, PersonState, [
        person(anna, 2, given_name="Anna-Lena"), person(anna, 1), person(bo), received(None, str(gone), 2),
        person(gone, 1),
    ])  # fmt: skip
    names = {row["id"]: row["given_name"] for row in await pool.fetch("select id, given_name from people")}
    assert names == {anna: "Anna-Lena", bo: "Anna"}


async def test_a_login_may_move_from_one_person_to_another_in_either_order(pool: Pool) -> None:
    anna, bo = new_id(), new_id()
    await apply(pool, PersonState, [person(anna)])
    await apply(pool, PersonState, [person(bo)])
    await apply(pool, PersonState, [person(anna, 2, login="anna.berg")])
    rows = await pool.fetch("select id, login from people")
    assert {row["id"]: row["login"] for row in rows} == {anna: "anna.berg", bo: "anna"}


async def test_units_follow_their_topic_even_when_a_child_comes_before_its_parent(pool: Pool) -> None:
    parent, child = new_id(), new_id()
    await apply(pool, UnitState, [received(UnitState(unit_id=child, name="Ward", parent_id=parent), str(child))])
    await apply(pool, UnitState, [received(UnitState(unit_id=parent, name="Care"), str(parent))])
    await apply(pool, UnitState, [received(UnitState(unit_id=child, name="Ward 2", merged_into=parent), str(child), 2)])
    rows = await pool.fetch("select name, parent_id, merged_into from units order by name")
    assert [tuple(row) for row in rows] == [("Care", None, None), ("Ward 2", None, parent)]


async def test_roles_and_token_hashes_follow_their_topic_and_go_with_a_tombstone(pool: Pool) -> None:
    unit, anna = new_id(), new_id()
    token, machine = issue_token("HR", {Role.hr_integration: None}, NOW)
    human = AccessState(principal=f"person:{anna}", kind=PrincipalKind.person, person_id=anna, name="Anna",
                        roles={"programme_office": (unit,)})  # fmt: skip
    await apply(pool, AccessState, [received(machine, machine.principal), received(human, human.principal)])
    rows = await pool.fetch("select principal, token_hash, roles, expires_at from access order by kind")
    assert [row["roles"] for row in rows] == [{"hr_integration": None}, {"programme_office": [str(unit)]}]
    assert (rows[0]["token_hash"].hex(), rows[0]["expires_at"]) == (machine.token_hash, NOW)
    assert rows[1]["token_hash"] is None
    await apply(pool, AccessState, [received(None, machine.principal, 2)])
    assert [row["principal"] for row in await pool.fetch("select principal from access")] == [human.principal]
    assert token


async def test_applying_the_same_batch_twice_changes_nothing(pool: Pool) -> None:
    batch = [person(new_id()) for _ in range(5)]
    await apply(pool, PersonState, batch)
    before = await pool.fetch("select * from people order by id")
    await apply(pool, PersonState, batch)
    assert await pool.fetch("select * from people order by id") == before
