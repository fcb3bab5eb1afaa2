"""What a forgery did is found and put right: `medled repair` over real databases and the services' real handlers."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from services.enrolment.access import actions
from services.enrolment.people.domain import state_of
from services.enrolment.people.store import find_person
from shared.events import AccessState, Event, PrincipalKind, Role, UnitState
from shared.events.envelope import MOST_FACTS
from shared.ids import new_id
from shared.messaging import outbox
from shared.messaging.handler import Record
from shared.messaging.inbox import MAX_SEQUENCE_STEP
from shared.postgres.transaction import transaction
from tests.shared.records import record_of
from tests.support.commands import describe_stack, medled
from tests.support.databases import Databases
from tests.support.services import At, announced, every_service

COPIES = ("feedback", "notifications", "portal")
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


class House:
    """One person in one unit, known to all services."""

    def __init__(self, services: dict[str, At], data: Path) -> None:
        self.services = services
        self.data = data
        self.owner = services["enrolment"].pool
        self.person, self.unit = new_id(), new_id()
        self._told = 0

    async def move_in(self) -> None:
        await self.owner.execute("insert into units (id, name) values ($1, 'Care North')", self.unit)
        await self.owner.execute(
            """
            insert into people (id, source, employee_id, login, given_name, family_name, email, unit_id, status, locale,
                                time_zone, changed_at)
            values ($1, 'hr', 'E1001', 'anna', 'Anna', 'Berg', 'anna@example.org', $2, 'active', 'sv',
                    'Europe/Stockholm', $3)
            """,
            self.person, self.unit, NOW,
        )  # fmt: skip
        async with transaction(self.owner) as conn:
            await outbox.add(conn, UnitState(unit_id=self.unit, name="Care North"), now=NOW)
        await self.tell_person()

    async def tell_person(self, **changes: str) -> None:
        """The person as enrolment has them, after a change, told to everybody."""
        async with transaction(self.owner) as conn:
            for name, value in changes.items():
                await conn.execute(f"update people set {name} = $2 where id = $1", self.person, value)
            person = await find_person(conn, self.person)
            assert person is not None
            await outbox.add(conn, state_of(person), now=NOW)
        await self.spread()

    async def spread(self) -> None:
        """Whatever enrolment has announced since."""
        records = await announced(self.owner)
        await self.take(*records[self._told :])
        self._told = len(records)

    async def take(self, *records: Record) -> None:
        for service in COPIES:
            await self.services[service].handle(*records)

    async def forged(self, sequence: int) -> Record:
        async with self.owner.acquire() as conn:
            person = await find_person(conn, self.person)
            assert person is not None
        forged = state_of(person).model_copy(update={"email": "thief@example.net"})
        return record_of(forged, sequence=sequence)

    async def emails(self) -> set[str | None]:
        return {
            await self.services[service].pool.fetchval("select email from people where id = $1", self.person)
            for service in COPIES
        }

    async def poison(self, sequence: int) -> None:
        """As 0.1.0 took it: a forged state with any sequence."""
        for service in COPIES:
            pool = self.services[service].pool
            await pool.execute("update people set email = 'thief@example.net' where id = $1", self.person)
            await pool.execute("update inbox_latest set sequence = $2 where subject = $1", str(self.person), sequence)

    async def repair(self, *words: object) -> Result:
        return await medled(self.data, "repair", *words)


@pytest.fixture
async def house(database: Databases, tmp_path: Path) -> AsyncIterator[House]:
    async with every_service(database) as services:
        describe_stack(tmp_path, {name: at.dsn for name, at in services.items()})
        house = House(services, tmp_path)
        await house.move_in()
        yield house


@pytest.mark.parametrize("poison", [2**63 - 1, MOST_FACTS, 2 * MAX_SEQUENCE_STEP, 40])
async def test_a_person_poisoned_on_0_1_0_is_repaired_and_true_changes_arrive_again(house: House, poison: int) -> None:
    await house.poison(poison)
    await house.tell_person(email="true@example.org")
    assert await house.emails() == {"thief@example.net"}, "what 0.1.0 left behind blocks the truth"

    shown = await house.repair("people", "E1001", "--dry-run", "--json")
    assert (shown.exit_code, json.loads(shown.stdout)["announced_again_as"]) == (0, None)
    await house.spread()
    assert await house.emails() == {"thief@example.net"}, "a dry run changes nothing"

    done = await house.repair("people", "E1001", "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    expected = 41 if poison == 40 else 3
    assert (told["subject"], told["announced"], told["announced_again_as"]) == (str(house.person), 2, expected)
    assert {copy["service"] for copy in told["set_back"]} == (set() if poison == 40 else set(COPIES))
    await house.spread()
    assert await house.emails() == {"true@example.org"}
    await house.tell_person(email="newer@example.org")
    assert await house.emails() == {"newer@example.org"}
    assert (await house.repair("people", str(house.person))).exit_code == 0, "safe to repeat"
    await house.spread()
    assert await house.emails() == {"newer@example.org"}

    actions_ = await house.owner.fetch("select principal, action, subject from audit_log")
    assert {tuple(row) for row in actions_} == {("machine:console", "projection.repaired", house.person)}
    set_back = await house.services["portal"].pool.fetchval("select count(*) from audit_log")
    assert set_back == (0 if poison == 40 else 1)


async def test_the_doctor_tells_of_what_is_held_back_and_of_records_that_somebody_else_wrote(house: House) -> None:
    assert "forgeries" not in (await medled(house.data, "doctor")).stdout
    await house.poison(2**63 - 1)
    await house.take(await house.forged(2**63 - 1))
    told = await medled(house.data, "doctor", "--json")
    bad = {each["what"]: each["detail"] for each in json.loads(told.stdout) if each["state"] == "bad"}
    assert told.exit_code == 1
    for service in COPIES:
        assert f"directory.people {house.person}" in bad[f"{service} copies"]
        assert "sequence_jump" in bad[f"{service} forgeries"]
    await house.repair("people", "E1001")
    assert "held back" not in (await medled(house.data, "doctor")).stdout


async def test_a_state_forged_within_a_step_is_outranked_also_for_who_has_not_taken_it(house: House) -> None:
    await house.services["portal"].handle(await house.forged(1 + MAX_SEQUENCE_STEP))
    await house.tell_person(email="true@example.org")
    assert await house.emails() == {"true@example.org", "thief@example.net"}
    said = (await house.repair("people", "anna")).stdout
    assert f"Announced again as it is, as {MAX_SEQUENCE_STEP + 2}" in said
    await house.spread()
    assert await house.emails() == {"true@example.org"}
    for service in COPIES:
        assert await house.services[service].reasons() == []


async def test_a_forged_principal_that_enrolment_does_not_know_is_gone_everywhere(house: House) -> None:
    forged: Event = AccessState(
        principal=f"person:{house.person}", kind=PrincipalKind.person, person_id=house.person, name="x",
        roles={"operator": None},
    )  # fmt: skip
    await house.take(record_of(forged))
    said = await house.repair("access", "E1001")
    assert said.exit_code == 0
    assert "enrolment never announced it, and has none" in said.stdout
    await house.spread()
    for service in COPIES:
        assert await house.services[service].pool.fetchval("select count(*) from access") == 0
    async with transaction(house.owner) as conn:
        await actions.grant(conn, actions.CONSOLE, house.person, Role.stream_reader, None, now=NOW)
    await house.spread()
    for service in COPIES:
        roles: Any = await house.services[service].pool.fetchval("select roles from access")
        assert roles == {"stream_reader": None}, "a true grant arrives afterwards"


async def test_a_unit_is_named_by_its_name_and_gets_it_back(house: House) -> None:
    renamed = UnitState(unit_id=house.unit, name="Thieves")
    await house.take(record_of(renamed, sequence=9))
    assert (await house.repair("units", "Care North")).exit_code == 0
    await house.spread()
    for service in COPIES:
        assert (
            await house.services[service].pool.fetchval("select name from units where id = $1", house.unit)
            == "Care North"
        )


async def test_what_nobody_knows_is_said_and_changes_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    before = await house.owner.fetchval("select count(*) from outbox")
    for words in (["people", new_id()], ["people", "E9999"], ["units", new_id()], ["access", "machine:nobody"]):
        assert (await house.repair(*words)).exit_code == 1, words
    assert (await house.repair("payroll", "x")).exit_code == 2
    monkeypatch.setenv("MEDLED_DATABASE_URL", house.services["portal"].dsn)
    alone = await house.repair("people", "E1001")
    assert (alone.exit_code, "MEDLED_DATABASES" in alone.stderr) == (2, True)
    assert await house.owner.fetchval("select count(*) from outbox") == before
