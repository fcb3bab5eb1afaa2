"""The pages of imports: what came of each file, and the way to end one."""

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from services.enrolment.imports.actions import IMPORT
from services.enrolment.imports.handlers import run_imports
from shared.events.vocabulary import Role
from shared.timers import Timers
from tests.enrolment.world import World, ok, opened
from tests.support.databases import Databases

API = "/enrolment/v1/imports"
PAGE = "/enrolment/imports"
CSV = "Employee ID,First Name,Last Name,Unit,Konto\n1,Anna,Berg,Care,annber\n2,Bo,Ek,Care,boek\n3,Eva\n"


@pytest.fixture
async def world(database: Databases, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(await database("enrolment"), tmp_path) as world:
        yield world


async def words(client: httpx.AsyncClient, path: str, language: str = "en") -> str:
    response = await client.get(path, headers={"accept": "text/html", "accept-language": language})
    assert response.status_code == 200, response.text
    body = response.text[response.text.index("<main") :]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


async def send(client: httpx.AsyncClient, **options: str) -> str:
    sent = await ok(client.post(API, files={"file": ("people.csv", CSV)}, data=options), 202)
    return str(sent["id"])


async def work(world: World) -> None:
    await Timers(world.pool, world.app.state.clock, {IMPORT: run_imports(world.pool)}).tick()


async def test_the_list_says_what_to_do_first_and_then_what_came_of_each_file(world: World) -> None:
    office = await world.office()
    assert "Nothing has been imported yet. Begin with an export" in await words(office, PAGE)
    import_id = await send(office)
    assert "people.csv Waiting hr" in await words(office, PAGE)
    await work(world)
    assert "people.csv Done hr" in await words(office, PAGE)
    assert f'href="{PAGE}/{import_id}"' in (await office.get(PAGE)).text


@pytest.mark.parametrize(
    ("language", "told"),
    [
        (
            "en",
            [
                "New people 2", "2 values where the header has 5", "The employee id is the login",
                "Column Konto looks like logins.",
            ],
        ),
        (
            "sv",
            [
                "Nya personer 2", "Raden har 2 värden där rubrikraden har 5. Rätta raden.",
                "Anställningsnumret är inloggningen", "Kolumnen Konto ser ut att innehålla inloggningar.",
            ],
        ),
    ],
)  # fmt: skip
async def test_a_report_can_be_read_as_a_page_in_ones_language_and_reading_it_is_on_record(
    world: World, language: str, told: list[str]
) -> None:
    office = await world.office()
    await world.pool.execute("update people set locale = $1", language)
    import_id = await send(office, source="other")
    await work(world)
    report = await words(office, f"{PAGE}/{import_id}?lang={language}", language)
    for said in (*told, "Anna Berg"):
        assert said in report
    read = await world.pool.fetchval("select count(*) from audit_log where action = 'import.read'")
    assert read == 1


@pytest.mark.parametrize(("dry_run", "told"), [("true", "the programme office is told"), ("false", "has been told")])
async def test_a_report_shows_the_teams_of_which_much_changes(world: World, dry_run: str, told: str) -> None:
    office = await world.office()
    rows = "".join(f"{n},Bo,Ek,Care,b{n},1\n" for n in range(2, 8))
    file = f"Employee ID,First Name,Last Name,Unit,Login,Manager ID\n1,Anna,Berg,Care,annber,\n{rows}"
    sent = await ok(
        office.post(API, files={"file": ("p.csv", file)}, data={"dry_run": dry_run, "source": "other"}), 202
    )
    await work(world)
    report = await words(office, f"{PAGE}/{sent['id']}")
    assert "Teams that change much at once 1" in report
    assert "Anna Berg (1) Care 6 0 → 6" in report
    assert told in report


async def test_a_refusal_is_said_in_the_readers_language_and_one_that_0_1_0_stored_in_english(world: World) -> None:
    office = await world.office()
    await world.pool.execute("update people set locale = 'sv'")
    sent = await ok(office.post(API, files={"file": ("people.csv", "Namn;Enhet\nÅsa;Vård\n")}), 202)
    page = f"{PAGE}/{sent['id']}?lang=sv"
    await work(world)
    assert "saknas: anställningsnummer (employee_id, till exempel Anställningsnummer)" in await words(
        office, page, "sv"
    )
    await world.pool.execute("update imports set report = report #- '{refusal,sentence}'")
    assert "Required columns are missing: employee_id" in await words(office, page, "sv")
    assert '<span lang="en">' in (await office.get(page)).text


async def test_what_changes_about_a_person_is_said_in_words_not_codes(world: World) -> None:
    office = await world.office()
    await world.pool.execute("update people set locale = 'sv'")
    people = "Employee ID,First Name,Last Name,Unit,Manager ID,Status\n1,Anna,Berg,Care,,\n2,Bo,Ek,Care,{}\n"
    for said in ("1,active", ",on leave"):
        file = {"file": ("p.csv", people.format(said))}
        sent = await ok(office.post(API, files=file, data={"source": "other"}), 202)
        await work(world)
    report = await words(office, f"{PAGE}/{sent['id']}?lang=sv", "sv")
    assert "Bo Ek (2)" in report
    assert "chef: 1 → saknas" in report
    assert "anställningsläge: i arbete → tjänstledig" in report


async def test_an_import_that_waits_is_cancelled_after_a_question(world: World) -> None:
    office = await world.office()
    import_id = await send(office)
    assert "Do you want to cancel the import of people.csv?" in await words(office, f"{PAGE}/{import_id}/cancel")
    assert (await ok(office.get(f"{API}/{import_id}")))["status"] == "queued", "asking changes nothing"
    done = await office.post(f"{PAGE}/{import_id}/cancel", headers={"accept": "text/html"}, follow_redirects=True)
    assert "The import is being cancelled" in done.text
    assert "Nothing was changed." in done.text
    again = await office.post(f"{PAGE}/{import_id}/cancel", follow_redirects=True)
    assert again.status_code == 200
    await work(world)
    assert (await ok(office.get(f"{API}/{import_id}")))["status"] == "cancelled"


async def test_an_import_that_has_ended_is_shown_as_it_ended(world: World) -> None:
    office = await world.office()
    import_id = await send(office, source="other")
    await work(world)
    too_late = await office.post(f"{PAGE}/{import_id}/cancel", headers={"accept": "text/html"}, follow_redirects=True)
    assert "The import had ended already" in too_late.text
    assert f"{PAGE}/{import_id}/cancel" not in (await office.get(f"{PAGE}/{import_id}")).text


async def test_the_pages_are_for_those_who_may_import_for_everybody(world: World) -> None:
    office = await world.office()
    import_id = await send(office)
    part = await world.office("part", world.north)
    await world.grant(await world.person("operator"), Role.operator)
    for client in (part, world.client("operator")):
        for path in (PAGE, f"{PAGE}/{import_id}", f"{PAGE}/{import_id}/cancel"):
            assert (await client.get(path)).status_code == 403
        assert (await client.post(f"{PAGE}/{import_id}/cancel")).status_code == 403
    assert (await ok(office.get(f"{API}/{import_id}")))["status"] == "queued"
