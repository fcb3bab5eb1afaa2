"""Cohorts over HTTP."""

from typing import Any

import pytest

from shared.events import CohortCapacityChanged, CohortClosed, CohortOpened, CohortStarted
from shared.ids import new_id
from tests.enrolment.world import GROUP, TITLE, World, a_cohort, ok, refused

URL = "/enrolment/v1/cohorts"
PROGRAMMES = "/enrolment/v1/programmes"


async def a_programme(office: Any, *, published: bool = True) -> str:
    body = {"title": TITLE, "milestones": [GROUP]}
    programme: str = (await ok(office.post(PROGRAMMES, json=body), 201))["programme_id"]
    if published:
        await ok(office.post(f"{PROGRAMMES}/{programme}/versions/1/publish"))
    return programme


async def test_a_cohort_is_planned_opened_started_and_closed(world: World) -> None:
    office = await world.office()
    cohort = await ok(office.post(URL, json=a_cohort(await a_programme(office))), 201)
    assert (cohort["status"], cohort["programme_version"], cohort["programme_title"]) == ("planned", 1, TITLE)
    assert await world.events(CohortOpened) == []
    for step, status in (("open", "open"), ("start", "running"), ("close", "closed")):
        assert (await ok(office.post(f"{URL}/{cohort['id']}/{step}")))["status"] == status
    told = await world.events(CohortOpened, CohortStarted, CohortClosed)
    assert [type(event) for event in told] == [CohortOpened, CohortStarted, CohortClosed]
    assert {str(event.cohort_id) for event in told} == {cohort["id"]}


@pytest.mark.parametrize(
    ("reached_by", "refused_steps"),
    [
        ([], ["start"]),
        (["open"], ["open"]),
        (["open", "start"], ["open", "start"]),
        (["close"], ["open", "start", "close"]),
    ],
)
async def test_a_step_that_the_state_does_not_allow_is_refused_and_changes_nothing(
    world: World, reached_by: list[str], refused_steps: list[str]
) -> None:
    office = await world.office()
    cohort = f"{URL}/{(await ok(office.post(URL, json=a_cohort(await a_programme(office))), 201))['id']}"
    for step in reached_by:
        await ok(office.post(f"{cohort}/{step}"))
    before = await ok(office.get(cohort))
    for step in refused_steps:
        problem = await refused(office.post(f"{cohort}/{step}"), 409, "cohort-state")
        assert before["status"] in problem["detail"]
        assert problem["remedy"]
    assert await ok(office.get(cohort)) == before


async def test_a_cohort_needs_a_published_version(world: World) -> None:
    office = await world.office()
    draft = await a_programme(office, published=False)
    problem = await refused(office.post(URL, json=a_cohort(draft)), 404, "not-found")
    assert problem["errors"][0]["field"] == "programme_id"
    await refused(office.post(URL, json=a_cohort(draft, programme_version=1)), 409, "version-is-not-published")
    await refused(office.post(URL, json=a_cohort(str(new_id()))), 404, "not-found")


async def test_a_planned_cohort_does_not_open_on_a_version_that_retired_meanwhile(world: World) -> None:
    office = await world.office()
    programme = await a_programme(office)
    cohort = (await ok(office.post(URL, json=a_cohort(programme)), 201))["id"]
    await ok(office.post(f"{PROGRAMMES}/{programme}/versions/1/retire"))
    await refused(office.post(f"{URL}/{cohort}/open"), 409, "version-is-not-published")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"capacity": 0}, "capacity"),
        ({"capacity": "many"}, "capacity"),
        ({"name": ""}, "name"),
        ({"starts_on": "soon"}, "starts_on"),
        ({"ends_on": "9999-12-31"}, "ends_on"),
        ({"name": "Spring\r\nBcc: x"}, "name"),
        ({"name": "\u202egnirpS"}, "name"),
        ({"unit_id": "north"}, "unit_id"),
        ({"colour": "blue"}, "colour"),
    ],
)
async def test_a_wrong_field_is_named(world: World, change: dict[str, Any], field: str) -> None:
    office = await world.office()
    body = a_cohort(str(new_id()), **change)
    problem = await refused(office.post(URL, json=body), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize("field", ["programme_id", "name", "capacity", "starts_on", "ends_on"])
async def test_a_missing_field_is_named(world: World, field: str) -> None:
    office = await world.office()
    body = a_cohort(str(new_id()))
    del body[field]
    problem = await refused(office.post(URL, json=body), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_dates_and_unit_are_checked(world: World) -> None:
    office = await world.office()
    programme = await a_programme(office)
    problem = await refused(office.post(URL, json=a_cohort(programme, ends_on="2026-03-01")), 422, "invalid")
    assert problem["errors"][0]["field"] == "ends_on"
    problem = await refused(office.post(URL, json=a_cohort(programme, unit_id=str(new_id()))), 404, "not-found")
    assert problem["errors"][0]["field"] == "unit_id"
    assert (await ok(office.get(URL)))["items"] == []


async def test_the_office_of_a_unit_keeps_to_its_unit(world: World) -> None:
    office = await world.office()
    programme = await a_programme(office)
    north = await world.office("north-office", world.north)
    mine = await ok(north.post(URL, json=a_cohort(programme, unit_id=str(world.north))), 201)
    await ok(north.post(f"{URL}/{mine['id']}/open"))
    for unit in (None, str(world.south), str(world.hq)):
        await refused(north.post(URL, json=a_cohort(programme, unit_id=unit)), 403, "forbidden")
    other = await ok(office.post(URL, json=a_cohort(programme, unit_id=str(world.south))), 201)
    for step in ("open", "start", "close"):
        await refused(north.post(f"{URL}/{other['id']}/{step}"), 403, "forbidden")
    await refused(north.post(f"{URL}/{other['id']}/capacity", json={"capacity": 9}), 403, "forbidden")


async def test_who_is_not_of_the_office_only_reads(world: World) -> None:
    office = await world.office()
    cohort = await world.cohort(office)
    await world.person("anna")
    anna = world.client("anna")
    assert (await ok(anna.get(f"{URL}/{cohort}")))["id"] == cohort
    assert len((await ok(anna.get(URL, params={"status": "open"})))["items"]) == 1
    assert (await ok(anna.get(URL, params={"status": "closed"})))["items"] == []
    for step in ("start", "close"):
        await refused(anna.post(f"{URL}/{cohort}/{step}"), 403, "forbidden")
    await refused(anna.post(URL, json=a_cohort(str(new_id()))), 403, "forbidden")


async def test_unknown_cohorts_are_not_found(world: World) -> None:
    office = await world.office()
    await refused(office.get(f"{URL}/{new_id()}"), 404, "not-found")
    for step in ("open", "start", "close"):
        await refused(office.post(f"{URL}/{new_id()}/{step}"), 404, "not-found")
    await refused(office.post(f"{URL}/{new_id()}/capacity", json={"capacity": 9}), 404, "not-found")


async def test_a_change_of_capacity_is_told_once_the_cohort_is_public(world: World) -> None:
    office = await world.office()
    cohort = await world.cohort(office, capacity=3)
    assert (await ok(office.post(f"{URL}/{cohort}/capacity", json={"capacity": 5})))["places"]["capacity"] == 5
    assert [event.capacity for event in await world.events(CohortCapacityChanged)] == [5]
    await ok(office.post(f"{URL}/{cohort}/close"))
    await refused(office.post(f"{URL}/{cohort}/capacity", json={"capacity": 6}), 409, "cohort-state")


async def test_who_is_not_signed_in_sees_nothing(world: World) -> None:
    stranger = world.client("nobody")
    stranger.cookies.clear()
    for url in (URL, PROGRAMMES, "/enrolment/v1/enrolments?mine=true"):
        await refused(stranger.get(url), 401, "unauthenticated")
