"""Milestones over HTTP: the co-leader reaches, the manager attests, the programme office waives and undoes."""

import asyncio
from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from shared.events import (
    EnrolmentCompleted,
    MilestoneAttested,
    MilestoneReached,
    MilestoneUndone,
    MilestoneWaived,
    Practice,
    Role,
)
from shared.ids import new_id
from tests.enrolment.world import GROUP, MEETING, TITLE, World, a_cohort, ok, refused

URL = "/enrolment/v1/enrolments"


async def active(world: World) -> tuple[str, httpx.AsyncClient, httpx.AsyncClient, httpx.AsyncClient]:
    """An active enrolment's milestones, and anna, her boss and the office as clients."""
    office = await world.office()
    cohort = await world.cohort(office)
    boss = await world.person("boss", unit=world.north)
    await world.person("anna", unit=world.north, manager=boss)
    anna, manager = world.client("anna"), world.client("boss")
    enrolment = (await ok(anna.post(URL, json={"cohort_id": cohort}), 201))["id"]
    await ok(manager.post(f"{URL}/{enrolment}/approve"))
    return f"{URL}/{enrolment}/milestones", anna, manager, office


async def test_reaching_tells_practices_and_feedback_of_the_version_the_cohort_runs(world: World) -> None:
    milestones, anna, *_ = await active(world)
    journey = await ok(anna.post(f"{milestones}/first_meeting/reach"))
    assert [(each["key"], each["status"], each["possible"]) for each in journey["milestones"]] == [
        ("first_meeting", "reached", ["attest", "undo"]),
        ("working_group", "pending", ["reach", "waive"]),
    ]
    [event] = await world.events(MilestoneReached)
    assert (event.milestone, event.unit_id) == ("first_meeting", world.north)
    assert event.practices == (Practice.leading_meetings, Practice.shared_understanding)
    assert (event.feedback.kind, event.feedback.days_open) == ("milestone", 14)
    assert await ok(anna.get(milestones)) == journey


async def test_a_newer_version_does_not_touch_a_cohort_that_runs_an_older_one(world: World) -> None:
    office = await world.office()
    boss = await world.person("boss")
    await world.person("anna", manager=boss)
    programmes = "/enrolment/v1/programmes"
    plan = {"title": TITLE, "milestones": [MEETING]}
    programme = (await ok(office.post(programmes, json=plan), 201))["programme_id"]
    await ok(office.post(f"{programmes}/{programme}/versions/1/publish"))
    cohort = (await ok(office.post("/enrolment/v1/cohorts", json=a_cohort(programme)), 201))["id"]
    await ok(office.post(f"/enrolment/v1/cohorts/{cohort}/open"))
    await ok(office.post(f"{programmes}/{programme}/versions", json=plan | {"milestones": [GROUP]}), 201)
    await ok(office.post(f"{programmes}/{programme}/versions/2/publish"))

    enrolment = (await ok(world.client("anna").post(URL, json={"cohort_id": cohort}), 201))["id"]
    await ok(world.client("boss").post(f"{URL}/{enrolment}/approve"))
    milestones = f"{URL}/{enrolment}/milestones"
    await refused(world.client("anna").post(f"{milestones}/working_group/reach"), 404, "not-found")
    journey = await ok(world.client("anna").post(f"{milestones}/first_meeting/reach"))
    assert journey["status"] == "completed"


async def test_the_unit_is_the_persons_when_it_happens(world: World) -> None:
    milestones, anna, *_ = await active(world)
    await world.pool.execute("update people set unit_id = $1 where login = 'anna'", world.south)
    await ok(anna.post(f"{milestones}/first_meeting/reach"))
    assert [event.unit_id for event in await world.events(MilestoneReached)] == [world.south]


async def test_the_last_step_completes_in_any_order_and_the_manager_can_still_attest(world: World) -> None:
    milestones, anna, manager, office = await active(world)
    await ok(anna.post(f"{milestones}/working_group/reach"))
    journey = await ok(office.post(f"{milestones}/first_meeting/waive"))
    assert journey["status"] == "completed"
    assert len(await world.events(EnrolmentCompleted)) == 1
    journey = await ok(manager.post(f"{milestones}/working_group/attest"))
    assert [each["status"] for each in journey["milestones"]] == ["waived", "attested"]
    assert len(await world.events(MilestoneWaived)) == len(await world.events(MilestoneAttested)) == 1
    problem = await refused(office.post(f"{milestones}/working_group/undo"), 409, "enrolment-state")
    assert "completed" in problem["detail"]
    assert problem["remedy"] == "Possible now: attest."
    assert len(await world.events(EnrolmentCompleted)) == 1


async def test_undone_is_pending_again(world: World) -> None:
    milestones, anna, _, office = await active(world)
    await ok(anna.post(f"{milestones}/first_meeting/reach"))
    journey = await ok(office.post(f"{milestones}/first_meeting/undo"))
    assert journey["milestones"][0]["status"] == "pending"
    assert len(await world.events(MilestoneUndone)) == 1
    await ok(anna.post(f"{milestones}/first_meeting/reach"))


@pytest.mark.parametrize(
    ("road", "steps"),
    [
        ([], ["attest", "undo"]),
        (["reach"], ["reach", "waive"]),
        (["reach", "attest"], ["reach", "attest", "waive"]),
        (["waive"], ["reach", "attest", "waive"]),
    ],
)
async def test_a_step_that_the_state_does_not_allow_is_refused(world: World, road: list[str], steps: list[str]) -> None:
    milestones, anna, manager, office = await active(world)
    who = {"reach": anna, "attest": manager, "waive": office, "undo": office}
    for step in road:
        await ok(who[step].post(f"{milestones}/first_meeting/{step}"))
    before = await ok(anna.get(milestones))
    for step in steps:
        problem = await refused(who[step].post(f"{milestones}/first_meeting/{step}"), 409, "milestone-state")
        assert f"The milestone is {before['milestones'][0]['status']}" in problem["detail"]
        assert "Possible now" in problem["remedy"]
    assert await ok(anna.get(milestones)) == before


async def test_each_step_has_its_own_people(world: World) -> None:
    milestones, anna, manager, office = await active(world)
    await world.person("colleague", unit=world.north)
    colleague, south = world.client("colleague"), await world.office("south-office", world.south)
    others = {"reach": [manager, office], "attest": [anna, office], "waive": [anna, manager], "undo": [manager]}
    for step, people in others.items():
        for person in people:
            await refused(person.post(f"{milestones}/first_meeting/{step}"), 403, "forbidden")
        for stranger in (colleague, south):
            await refused(stranger.post(f"{milestones}/first_meeting/{step}"), 404, "not-found")
    north = await world.office("north-office", world.north)
    await ok(north.post(f"{milestones}/first_meeting/waive"))


async def test_unknown_milestones_and_enrolments_are_not_found(world: World) -> None:
    milestones, anna, *_ = await active(world)
    problem = await refused(anna.post(f"{milestones}/nonsense/reach"), 404, "not-found")
    assert problem["remedy"] == "Its milestones: first_meeting, working_group."
    await refused(anna.post(f"{URL}/{new_id()}/milestones/first_meeting/reach"), 404, "not-found")
    await refused(anna.get(f"{URL}/{new_id()}/milestones"), 404, "not-found")


async def test_reaching_twice_at_once_tells_it_once(world: World) -> None:
    milestones, anna, *_ = await active(world)
    answers = await asyncio.gather(*(anna.post(f"{milestones}/first_meeting/reach") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert len(await world.events(MilestoneReached)) == 1


async def test_all_milestones_at_once_complete_once(world: World) -> None:
    milestones, anna, *_ = await active(world)
    await asyncio.gather(*(ok(anna.post(f"{milestones}/{key}/reach")) for key in ("first_meeting", "working_group")))
    [event] = await world.events(EnrolmentCompleted)
    assert isinstance(event.enrolment_id, UUID)


async def test_nobody_in_the_office_waives_or_undoes_a_milestone_of_their_own(world: World) -> None:
    milestones, anna, *_ = await active(world)
    person_id = await world.pool.fetchval("select id from people where login = 'anna'")
    await world.grant(person_id, Role.programme_office)
    await ok(anna.post(f"{milestones}/first_meeting/reach"))
    await refused(anna.post(f"{milestones}/working_group/waive"), 403, "forbidden")
    world.pass_time(timedelta(minutes=16))
    await refused(anna.post(f"{milestones}/first_meeting/undo"), 409, "too-late-to-take-back")


async def test_what_was_reached_by_mistake_can_be_taken_back_for_a_quarter_of_an_hour(world: World) -> None:
    milestones, anna, *_ = await active(world)
    await refused(anna.post(f"{milestones}/first_meeting/undo"), 409, "milestone-state")
    reached = (await ok(anna.post(f"{milestones}/first_meeting/reach")))["milestones"][0]
    assert reached["take_back_before"] is not None
    world.pass_time(timedelta(minutes=14))
    undone = (await ok(anna.post(f"{milestones}/first_meeting/undo")))["milestones"][0]
    assert (undone["status"], undone["take_back_before"]) == ("pending", None)
    [event] = await world.events(MilestoneUndone)
    assert event.milestone == "first_meeting"


async def test_the_time_to_take_back_ends_by_the_clock_alone(world: World) -> None:
    milestones, anna, *_ = await active(world)
    await ok(anna.post(f"{milestones}/first_meeting/reach"))
    world.pass_time(timedelta(minutes=15))
    problem = await refused(anna.post(f"{milestones}/first_meeting/undo"), 409, "too-late-to-take-back")
    assert "programme office" in problem["remedy"]
    assert await world.events(MilestoneUndone) == []


async def test_people_are_not_mailed_again_and_again(world: World) -> None:
    milestones, anna, _, office = await active(world)
    for step in ("reach", "undo", "reach"):
        await ok(anna.post(f"{milestones}/first_meeting/{step}"))
    await refused(anna.post(f"{milestones}/first_meeting/undo"), 409, "too-late-to-take-back")
    await ok(office.post(f"{milestones}/first_meeting/undo"))
    journey = await ok(anna.post(f"{milestones}/first_meeting/reach"))
    assert journey["milestones"][0]["take_back_before"] is None


async def test_what_the_manager_attested_or_completed_everything_is_not_taken_back(world: World) -> None:
    milestones, anna, manager, _ = await active(world)
    await ok(anna.post(f"{milestones}/first_meeting/reach"))
    await ok(manager.post(f"{milestones}/first_meeting/attest"))
    await refused(anna.post(f"{milestones}/first_meeting/undo"), 409, "too-late-to-take-back")
    await ok(anna.post(f"{milestones}/working_group/reach"))
    await refused(anna.post(f"{milestones}/working_group/undo"), 409, "enrolment-state")
