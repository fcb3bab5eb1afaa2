"""Whoever may send HR files changes no team at once without the programme office hearing of it (ADR 0004)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from services.enrolment.imports.actions import IMPORT
from services.enrolment.imports.handlers import run_imports
from shared.events import Bucket, TeamsChanged
from shared.events.vocabulary import Role
from shared.timers import Timers
from tests.enrolment.imports.test_importing import export, line
from tests.enrolment.world import World, ok, opened
from tests.support.databases import Databases
from tests.support.signing_in import PEOPLE

API = "/enrolment/v1/imports"
TEAM = [f"p{n}" for n in range(7)]
MADE_UP = [f"x{n}" for n in range(4)]
DAY = timedelta(hours=24)


@dataclass
class Office:
    """The programme office of an organisation of three teams, which its first file brought; and a machine of HR's."""

    world: World
    token: str
    who: dict[str, UUID] = field(default_factory=dict)
    known: int = 0

    async def send(self, content: str, by: str | None = None, **options: Any) -> dict[str, Any]:
        """Have a file imported, sent by HR's machine or by somebody; what became of it."""
        client = self.world.client(by) if by else self.world.client("nobody")
        headers = {} if by else {"authorization": f"Bearer {self.token}"}
        query = {"max_deactivations": "50%"} | options
        sent = await ok(
            client.post(API, content=content, params=query, headers=headers | {"content-type": "text/csv"}), 202
        )
        await Timers(self.world.pool, self.world.app.state.clock, {IMPORT: run_imports(self.world.pool)}).tick()
        ended: dict[str, Any] = await ok(client.get(f"{API}/{sent['id']}", headers=headers))
        assert ended["status"] == "done", ended
        return ended

    async def told(self) -> list[TeamsChanged]:
        """What was announced since the last time."""
        events: list[TeamsChanged] = await self.world.events(TeamsChanged)
        new, self.known = events[self.known :], len(events)
        return new


def people(*team: str) -> str:
    """The whole file: three managers, those of the teams b and c, and these lines of the first team."""
    managers = [line("chief"), *(line(each, "chief", unit=f"Care - {each}") for each in ("a", "b", "c"))]
    others = [line(f"{each}{n}", each, unit=f"Care - {each}") for each in ("b", "c") for n in range(6)]
    return export(*managers, *others, *team)


def member(who: str, manager: str = "a", **more: str) -> str:
    return line(who, manager, **({"unit": "Care - a"} | more))


FIRST = people(*map(member, TEAM))
ATTACK = people(member("p0"), *(member(p, status="On Leave") for p in TEAM[1:]), *map(member, MADE_UP))
RESTORED = FIRST


@pytest.fixture
async def office(database: Databases, tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(await database("enrolment"), tmp_path) as world:
        await world.pool.execute("delete from units")
        office = Office(world, await world.machine("hr", Role.hr_integration))
        await office.send(FIRST)
        rows = await world.pool.fetch("select employee_id, id from people")
        units = await world.pool.fetch("select name, id from units")
        PEOPLE.update({row["employee_id"]: row["id"] for row in rows})
        office.who = {row["employee_id"]: row["id"] for row in rows} | {f"unit {u['name']}": u["id"] for u in units}
        await world.grant(office.who["b0"], Role.programme_office)
        assert await office.told() == []
        yield office


async def test_who_isolates_one_respondent_is_told_of_once_to_each_of_the_programme_office(office: Office) -> None:
    """Six of seven on leave, four made up, and everything put back."""
    await office.world.grant(office.who["c0"], Role.programme_office)
    done = await office.send(ATTACK)
    [told, other] = await office.told()
    assert {told.person_id, other.person_id} == {office.who["b0"], office.who["c0"]}
    assert (told.teams, str(told.import_id), told.may_read) == (Bucket.few, done["id"], True)
    assert told.unit_ids == (office.who["unit a"],)
    [team] = done["report"]["teams"]
    assert team == {
        "employee_id": "a", "name": "Anna Berg", "units": ["Care - a"], "changed": 10, "before": 7, "after": 11,
    }  # fmt: skip
    assert done["counts"]["teams_changed"] == 1

    await office.send(ATTACK)
    assert await office.told() == [], "the same file again changes nothing"
    await office.send(people(member("p0", status="On Leave"), *(member(p, status="On Leave") for p in TEAM[1:]),
                             *map(member, MADE_UP)))  # fmt: skip
    assert await office.told() == [], "what was told is not told again with the next change"
    await office.send(RESTORED)
    assert len(await office.told()) == 2


@pytest.mark.parametrize(
    "change",
    [{"status": "On Leave"}, {"manager": "b"}, {"unit": "Care - b"}, {"status": "Terminated"}],
    ids=["on leave", "another manager", "another unit", "left"],
)
async def test_each_way_to_empty_a_team_is_told(office: Office, change: dict[str, str]) -> None:
    changed = [member(p, **change) for p in TEAM[1:5]]
    done = await office.send(people(*map(member, ["p0", "p5", "p6"]), *changed))
    assert len(await office.told()) == 1
    assert {team["employee_id"] for team in done["report"]["teams"]} == {"a", change.get("manager", "a")}


async def test_an_ordinary_import_tells_nobody(office: Office) -> None:
    """One joins, one leaves, one moves, and all have another title and address: that is no team's end."""
    team = [member(p, title="Chief", email=f"{p}@new.example.org") for p in TEAM[2:]]
    moved = member("p1", manager="c", unit="Care - c")
    done = await office.send(people(*team, moved, member("new")))
    assert (done["counts"]["joined"], done["counts"]["deactivated"], done["counts"]["moved"]) == (1, 1, 1)
    assert (done["counts"]["teams_changed"], done["report"]["teams"]) == (0, [])
    assert await office.told() == []


async def test_of_a_large_team_a_few_may_change(office: Office) -> None:
    large = [f"l{n}" for n in range(20)]
    await office.send(people(*map(member, TEAM + large)))
    assert len(await office.told()) == 1
    await office.send(people(*map(member, TEAM + large[5:])))
    assert await office.told() == []
    office.world.pass_time(DAY + timedelta(minutes=1))
    await office.send(people(*map(member, TEAM + large[13:])))
    assert len(await office.told()) == 1


async def test_three_at_a_time_are_told_like_all_at_once_and_the_next_day_they_count_no_more(office: Office) -> None:
    def on_leave(number: int) -> str:
        return people(*(member(p, status="On Leave" if n < number else "Active") for n, p in enumerate(TEAM)))

    await office.send(on_leave(3))
    office.world.pass_time(DAY + timedelta(minutes=1))
    await office.send(on_leave(4))
    assert await office.told() == []
    office.world.pass_time(3 * DAY)
    done = await office.send(on_leave(7))
    assert await office.told() == [], "the fourth was more than a day before"
    assert done["counts"]["teams_changed"] == 0
    await office.send(on_leave(6))
    assert await office.told() == [], "three people who change twice are still three"
    done = await office.send(on_leave(0))
    assert len(await office.told()) == 1
    assert done["report"]["teams"][0]["changed"] == 7


async def test_a_dry_run_reports_and_tells_nobody(office: Office) -> None:
    done = await office.send(ATTACK, dry_run=True)
    assert [team["employee_id"] for team in done["report"]["teams"]] == ["a"]
    assert await office.told() == []
    assert await office.world.pool.fetchval("select count(*) from team_changes") == 0


async def test_the_office_of_a_unit_hears_of_its_teams_alone_and_is_not_sent_to_a_report_it_may_not_read(
    office: Office,
) -> None:
    world = office.world
    await world.grant(office.who["c1"], Role.programme_office, office.who["unit a"])
    await world.grant(office.who["c2"], Role.programme_office, office.who["unit b"])
    await world.grant(office.who["c3"], Role.programme_office, office.who["unit Care"], office.who["unit a"])
    await world.grant(office.who["c4"], Role.operator)
    await office.send(ATTACK)
    told = {event.person_id: event.may_read for event in await office.told()}
    assert told == {office.who["b0"]: True, office.who["c1"]: False, office.who["c3"]: False}


async def test_a_team_that_goes_to_a_new_unit_is_told_where_it_comes_from_and_where_it_goes(office: Office) -> None:
    """The new unit came with the file, below one whose office is to hear of it."""
    await office.world.grant(office.who["c1"], Role.programme_office, office.who["unit b"])
    await office.send(people(*(member(p, unit="Care - b - new") for p in TEAM)))
    told = {event.person_id: event for event in await office.told()}
    assert told.keys() == {office.who["b0"], office.who["c1"]}
    assert len(told[office.who["b0"]].unit_ids) == 2
    assert len(told[office.who["c1"]].unit_ids) == 1


async def test_whoever_sent_the_file_is_told_too_and_once(office: Office) -> None:
    await office.world.grant(office.who["c5"], Role.hr_integration)
    await office.send(ATTACK, by="c5")
    assert {event.person_id for event in await office.told()} == {office.who["b0"], office.who["c5"]}
    await office.send(RESTORED, by="b0")
    assert [event.person_id for event in await office.told()] == [office.who["b0"]]


async def test_an_office_that_the_same_file_says_has_left_is_told_all_the_same(office: Office) -> None:
    await office.send(ATTACK.replace(line("b0", "b", unit="Care - b"), ""))
    assert [event.person_id for event in await office.told()] == [office.who["b0"]]


async def test_many_teams_are_one_notice_with_a_rough_number_and_no_name_of_a_manager(office: Office) -> None:
    teams = [line(f"m{n}", "chief", unit=f"Care - m{n}") for n in range(25)]
    members = [line(f"m{n}.{k}", f"m{n}", unit=f"Care - m{n}") for n in range(25) for k in range(4)]
    done = await office.send(people(*map(member, TEAM), *teams, *members))
    [told] = await office.told()
    assert told.teams is Bucket.many
    assert len(told.unit_ids) == 20
    assert (done["counts"]["teams_changed"], len(done["report"]["teams"])) == (26, 26)  # theirs, and the chief's
    payload = await office.world.pool.fetchval("select payload::text from outbox where type = $1", TeamsChanged.type)
    assert not any(str(who) in str(payload) for name, who in office.who.items() if name != "b0" and "unit" not in name)
