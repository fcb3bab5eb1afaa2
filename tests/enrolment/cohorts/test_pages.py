"""A cohort is planned and its places are changed on pages, by the office of the unit that it is for."""

from uuid import UUID

import httpx
import pytest

from services.enrolment.cohorts import pages
from shared.ids import new_id
from tests.enrolment.forms import PAGE, Form, follow, form_at, form_in, page, words
from tests.enrolment.world import GROUP, TITLE, World, ok

COHORTS = "/enrolment/v1/cohorts"
API = "/enrolment/v1/programmes"


def planning(programme: str) -> str:
    return f"/enrolment/programmes/{programme}/cohorts/new"


async def drafted(office: httpx.AsyncClient) -> str:
    plan = {"title": TITLE, "milestones": [GROUP]}
    return str((await ok(office.post(API, json=plan), 201))["programme_id"])


async def published(world: World) -> str:
    """A programme that cohorts can run."""
    office = await world.office()
    programme = await drafted(office)
    await ok(office.post(f"{API}/{programme}/versions/1/publish"))
    return programme


def spring(form: Form) -> Form:
    return form.fill(name="Spring 2027", capacity="1 200", starts_on="2027-03-01", ends_on="2027-06-12")


async def test_a_cohort_is_planned_on_a_page_and_pressing_twice_makes_one(world: World) -> None:
    programme = await published(world)
    office = world.client("office")
    assert planning(programme) in (await office.get("/enrolment/programmes", headers=PAGE)).text
    form = spring(await form_at(office, planning(programme))).fill(unit_id=str(world.north))
    first, second = await form.press(office, "save"), await form.press(office, "save")
    assert first.headers["location"] == second.headers["location"]
    shown = await follow(office, first)
    assert "The cohort is planned. Open it when people may ask for a place." in shown
    [cohort] = (await ok(office.get(COHORTS)))["items"]
    assert (cohort["name"], cohort["unit_id"], cohort["status"]) == ("Spring 2027", str(world.north), "planned")
    assert (cohort["starts_on"], cohort["ends_on"]) == ("2027-03-01", "2027-06-12")
    assert (cohort["programme_version"], cohort["places"]["capacity"]) == (1, 1200)


async def test_the_version_can_be_chosen_and_the_newest_published_is_offered_first(world: World) -> None:
    programme = await published(world)
    office = world.client("office")
    await ok(office.post(f"{API}/{programme}/versions", json={"title": TITLE, "milestones": [GROUP]}), 201)
    assert (await form_at(office, planning(programme)))["programme_version"] == "1", "a draft cannot run"
    await ok(office.post(f"{API}/{programme}/versions/2/publish"))
    form = spring(await form_at(office, planning(programme)))
    assert form["programme_version"] == "2"
    assert (await form.fill(programme_version="1").press(office, "save")).status_code == 303
    [cohort] = (await ok(office.get(COHORTS)))["items"]
    assert cohort["programme_version"] == 1

    await ok(office.post(f"{API}/{programme}/versions/2/retire"))
    refused = await form.fill(programme_version="2", form_key=str(new_id())).press(office, "save")
    assert refused.status_code == 409
    assert "no longer published" in words(refused)
    assert form_in(refused)["name"] == "Spring 2027"


async def test_what_is_wrong_with_a_cohort_stands_beside_its_field_and_what_was_typed_is_kept(world: World) -> None:
    programme = await published(world)
    office = world.client("office")
    form = (await form_at(office, planning(programme))).fill(name=" ", capacity="many", starts_on="soon", unit_id="x")
    refused = await form.press(office, "save")
    assert refused.status_code == 422
    for name, message in {
        "name": "Write what the cohort is to be called",
        "capacity": "Write how many places there are to be, a whole number from 1 to 100000",
        "unit_id": "Choose a unit from the list",
        "starts_on": "Choose the first day",
        "ends_on": "Choose the last day",
    }.items():
        assert f'<a href="#{name}">{message}</a>' in refused.text
        assert f'id="{name}-error"' in refused.text
    assert form_in(refused)["capacity"] == "many"

    for typed, message in {
        ("ends_on", "2027-02-01"): "The last day is before the first",
        ("unit_id", str(new_id())): "Choose a unit from the list",
        ("capacity", "100001"): "a whole number from 1 to 100000",
        ("name", "x" * 201): "at most 200 characters",
        ("starts_on", "0001-01-01"): "Choose the first day",
    }.items():
        refused = await spring(await form_at(office, planning(programme))).fill(**dict([typed])).press(office, "save")
        assert refused.status_code in (404, 409, 422)
        assert message in words(refused)
        assert form_in(refused)["name"] in ("Spring 2027", "x" * 201)
    assert (await ok(office.get(COHORTS)))["items"] == []


async def test_a_units_office_plans_for_its_own_units_only(world: World) -> None:
    programme = await published(world)
    of_north = await world.office("northern", world.north)
    form = spring(await form_at(of_north, planning(programme)))
    assert form["unit_id"] == str(world.north)
    seen = (await of_north.get(planning(programme), headers=PAGE)).text
    assert ("HQ - North" in seen, "South" in seen, "whole organisation" in seen) == (True, False, False)
    for unit in ("", str(world.south)):
        assert (await form.fill(unit_id=unit).press(of_north, "save")).status_code == 403
    kept = await form.fill(unit_id=str(world.north)).press(of_north, "save")
    assert "Spring 2027" in await follow(of_north, kept)
    await world.person("anna")
    assert "You do not have access" in await page(world.client("anna"), planning(programme), 403)
    assert (await form.press(world.client("anna"), "save")).status_code == 403
    sent = await of_north.post(form.action, data=dict(form.fields), headers=PAGE | {"sec-fetch-site": "cross-site"})
    assert sent.status_code == 403
    assert len((await ok(of_north.get(COHORTS)))["items"]) == 1


async def test_in_a_large_organisation_a_unit_is_searched_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_UNITS", 2)
    programme = await published(world)
    office = world.client("office")
    await world.pool.execute("update units set merged_into = $1 where id = $2", world.hq, world.south)
    old, ward = new_id(), new_id()
    for unit, name, parent in ((old, "Old % house", world.south), (ward, "Ward", old)):
        await world.pool.execute("insert into units (id, name, parent_id) values ($1, $2, $3)", unit, name, parent)
    first = await form_at(office, planning(programme))
    found = await spring(first).fill(sought="old %").press(office, "seek")
    assert form_in(found)["name"] == "Spring 2027"
    assert f'value="{ward}"' in found.text
    assert "HQ - South - Old % house - Ward" in found.text
    assert f'value="{world.north}"' not in found.text
    assert f'value="{world.south}"' not in found.text, "it is merged into another"
    kept = await form_in(found).fill(unit_id=str(ward)).press(office, "save")
    assert kept.status_code == 303
    [cohort] = (await ok(office.get(COHORTS)))["items"]
    assert UUID(cohort["unit_id"]) == ward


async def test_a_unit_that_was_chosen_stays_chosen_however_many_come_before_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_UNITS", 2)
    programme = await published(world)
    office = world.client("office")
    form = await form_at(office, planning(programme))
    assert f'value="{world.south}"' not in (await office.get(planning(programme), headers=PAGE)).text
    form = form_in(await spring(form).fill(sought="south").press(office, "seek"))
    again = await form.fill(unit_id=str(world.south), sought="").press(office, "seek")
    assert form_in(again)["unit_id"] == str(world.south)
    assert "The list shows only 2 of the units" in words(again)
    assert (await form_in(again).press(office, "save")).status_code == 303
    [cohort] = (await ok(office.get(COHORTS)))["items"]
    assert UUID(cohort["unit_id"]) == world.south, "and does not become everybody"


async def test_a_programme_without_a_published_version_says_what_to_do_first(world: World) -> None:
    office = await world.office()
    programme = await drafted(office)
    assert "has no published version. Publish a version" in await page(office, planning(programme))
    assert "Page not found" in await page(office, planning(str(new_id())), 404)


async def test_places_that_cannot_be_are_refused_beside_the_field(world: World) -> None:
    office = await world.office()
    cohort = f"/enrolment/cohorts/{await world.cohort(office)}"
    await world.person("anna")
    asked = await ok(world.client("anna").post("/enrolment/v1/enrolments", json={"cohort_id": cohort[-36:]}), 201)
    await ok(office.post(f"/enrolment/v1/enrolments/{asked['id']}/approve"))
    await world.person("bo")
    asked = await ok(world.client("bo").post("/enrolment/v1/enrolments", json={"cohort_id": cohort[-36:]}), 201)
    await ok(office.post(f"/enrolment/v1/enrolments/{asked['id']}/approve"))
    for typed, message in {"0": "a whole number", "ten": "a whole number", "1": "already taken"}.items():
        form = await form_at(office, cohort, "/capacity")
        refused = await form.fill(capacity=typed).press(office)
        assert refused.status_code in (409, 422)
        assert '<a href="#capacity">' in refused.text
        assert message in words(refused)
        assert form_in(refused, "/capacity")["capacity"] == typed


async def test_of_two_who_change_the_places_the_second_is_told_and_pressing_twice_is_once(world: World) -> None:
    anna, bo = await world.office("anna"), await world.office("bo")
    cohort = f"/enrolment/cohorts/{await world.cohort(anna)}"
    annas, bos = [(await form_at(who, cohort, "/capacity")) for who in (anna, bo)]
    for _ in range(2):
        assert "The cohort has been changed" in await follow(anna, await annas.fill(capacity="12").press(anna))
    told = await follow(bo, await bos.fill(capacity="99").press(bo))
    assert "Somebody else has changed the number of places" in told
    assert "0 of 12 places taken" in told
