"""Who may do what where: the units' tree, the reporting line, the audit log."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from uuid import UUID

import asyncpg
import pytest

from shared.errors import ProblemError
from shared.events.vocabulary import Role
from shared.ids import new_id
from shared.postgres.pool import Pool, create_pool
from shared.security.audit import audit, audit_all, forget
from shared.security.authorization import is_manager_of, require, units_of
from shared.security.machine_tokens import issue_token, token_digest
from shared.security.principal import Principal
from shared.settings import Settings
from tests.support.databases import Databases
from tests.support.directory import add_person, add_unit
from tests.support.settings import make_settings

OFFICE = Role.programme_office


@pytest.fixture
async def pool(database: Databases) -> AsyncIterator[Pool]:
    pool = await create_pool(make_settings(Settings, await database("feedback")), name="test")
    yield pool
    await pool.close()


def somebody(units: list[UUID] | None = None, role: Role = OFFICE, person_id: UUID | None = None) -> Principal:
    held = frozenset(units) if units is not None else None
    return Principal("person", "person:x", person_id or new_id(), "Somebody", roles=MappingProxyType({role: held}))


async def may(pool: Pool, who: Principal, *roles: Role, unit: UUID | None = None) -> bool:
    try:
        async with pool.acquire() as conn:
            await require(conn, who, *roles, unit=unit)
    except ProblemError as problem:
        return problem.status != 403  # anything else is no refusal
    return True


async def test_a_role_for_a_unit_covers_the_units_below_and_no_others(pool: Pool) -> None:
    top = await add_unit(pool, "top")
    north, south = await add_unit(pool, "north", top), await add_unit(pool, "south", top)
    ward = await add_unit(pool, "ward", north)
    who = somebody([north])
    assert [await may(pool, who, OFFICE, unit=unit) for unit in (north, ward, south, top)] == [True, True, False, False]
    async with pool.acquire() as conn:
        assert await units_of(conn, who, OFFICE) == frozenset({north, ward})


async def test_without_the_role_nothing_is_allowed(pool: Pool) -> None:
    unit = await add_unit(pool, "unit")
    assert not await may(pool, somebody(role=Role.operator), OFFICE, unit=unit)
    assert not await may(pool, somebody(role=Role.operator), OFFICE)
    assert not await may(pool, somebody(), unit=unit)
    assert await may(pool, somebody(role=Role.operator), OFFICE, Role.operator)
    async with pool.acquire() as conn:
        assert await units_of(conn, somebody(role=Role.operator), OFFICE) == frozenset()


async def test_a_role_held_everywhere_covers_units_nobody_has_told_us_of_yet(pool: Pool) -> None:
    assert await may(pool, somebody(), OFFICE, unit=new_id())
    async with pool.acquire() as conn:
        assert await units_of(conn, somebody(), OFFICE) is None


async def test_a_role_for_some_units_is_not_enough_for_what_concerns_everybody(pool: Pool) -> None:
    assert not await may(pool, somebody([await add_unit(pool, "unit")]), OFFICE)
    assert not await may(pool, somebody([]), OFFICE, unit=await add_unit(pool, "other"))


async def test_a_merged_unit_belongs_to_the_one_it_went_into(pool: Pool) -> None:
    into = await add_unit(pool, "into")
    old = await add_unit(pool, "old", merged_into=into)
    assert await may(pool, somebody([into]), OFFICE, unit=old)
    assert not await may(pool, somebody([old]), OFFICE, unit=into)
    async with pool.acquire() as conn:
        assert await units_of(conn, somebody([into]), OFFICE) == frozenset({into, old})


async def test_a_circle_in_the_tree_neither_hangs_nor_opens_doors(pool: Pool) -> None:
    a, b, c = new_id(), new_id(), new_id()
    await pool.execute(
        "insert into units values ($1, 'a', $2, null), ($2, 'b', $1, null), ($3, 'c', null, null)", a, b, c
    )
    assert await may(pool, somebody([b]), OFFICE, unit=a)
    assert not await may(pool, somebody([c]), OFFICE, unit=a)
    async with pool.acquire() as conn:
        assert await units_of(conn, somebody([a]), OFFICE) == frozenset({a, b})


async def test_the_manager_is_who_the_person_reports_to_now_and_nobody_is_their_own(pool: Pool) -> None:
    boss = await add_person(pool, "boss")
    anna = await add_person(pool, "anna", manager=boss)
    alone = await add_person(pool, "alone")
    await pool.execute("update people set manager_id = id where id = $1", alone)
    async with pool.acquire() as conn:
        assert await is_manager_of(conn, somebody(person_id=boss), anna)
        assert not await is_manager_of(conn, somebody(person_id=anna), boss)
        assert not await is_manager_of(conn, somebody(person_id=alone), alone)
        machine = Principal("machine", "machine:x", None, "x")
        assert not await is_manager_of(conn, machine, anna)


async def test_the_audit_log_keeps_what_was_done_and_cannot_be_rewritten(pool: Pool) -> None:
    subjects = [new_id() for _ in range(3)]
    now = datetime.now(UTC)
    async with pool.acquire() as conn:
        await audit(conn, somebody(), "results.read", subjects[0], now)
        await audit_all(conn, somebody(), "person.read", subjects[1:], now)
    rows = await pool.fetch("select action, subject, principal, at from audit_log order by id")
    assert [(row["action"], row["subject"]) for row in rows] == [
        ("results.read", subjects[0]), ("person.read", subjects[1]), ("person.read", subjects[2]),
    ]  # fmt: skip
    assert {(row["principal"], row["at"]) for row in rows} == {("person:x", now)}
    for statement in ("update audit_log set action = 'nothing'", "delete from audit_log", "truncate audit_log"):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await pool.execute(statement)


async def test_the_audit_log_forgets_in_one_way_which_is_on_record_itself(pool: Pool) -> None:
    now = datetime.now(UTC)
    anna, bo = new_id(), new_id()
    async with pool.acquire() as conn:
        for days, subject in ((100, anna), (90, bo), (80, anna), (1, anna)):
            await audit(conn, somebody(), "person.read", subject, now - timedelta(days=days))
    assert await forget(pool, "medled:retention", before=now - timedelta(days=85), now=now, most=1) == 2
    assert await forget(pool, "person:x", before=now, now=now, about=anna) == 2
    assert await forget(pool, "person:x", before=now + timedelta(days=1), now=now, about=anna) == 0
    left = await pool.fetch("select principal, action, subject from audit_log order by at, id")
    assert [(row["principal"], row["action"]) for row in left] == [
        ("medled:retention", "audit.forgotten"), ("medled:retention", "audit.forgotten"),
        ("person:x", "audit.forgotten"),
    ]  # fmt: skip
    assert left[-1]["subject"] == anna
    with pytest.raises(asyncpg.RaiseError, match="append-only"):
        await pool.execute("delete from audit_log")


def test_a_machine_token_is_long_random_and_known_only_by_its_hash() -> None:
    unit = new_id()
    token, state = issue_token("HR platform", {Role.hr_integration: frozenset({unit})}, None)
    again, _ = issue_token("HR platform", {Role.hr_integration: None}, None)
    assert token.startswith("mlt_")
    assert len(token) == 47
    assert token != again
    assert state.token_hash == token_digest(token).hex()
    assert state.roles == {"hr_integration": (unit,)}
    assert token not in state.model_dump_json()
