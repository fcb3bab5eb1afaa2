"""Enrolments over HTTP: who may do what, and when."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from services.enrolment.approvals import pages as approvals
from services.enrolment.places import pages as places
from shared.events import (
    EnrolmentActivated,
    EnrolmentApproved,
    EnrolmentDeclined,
    EnrolmentRequested,
    EnrolmentWaitlisted,
    EnrolmentWithdrawn,
    Role,
)
from shared.ids import new_id
from tests.enrolment.world import World, ok, refused

URL = "/enrolment/v1/enrolments"


async def asked(person: httpx.AsyncClient, cohort: str) -> str:
    """The id of a new request for a place."""
    enrolment: str = (await ok(person.post(URL, json={"cohort_id": cohort}), 201))["id"]
    return enrolment


async def team(world: World, *logins: str) -> list[httpx.AsyncClient]:
    """A manager called `boss` and people who report to them, as clients."""
    boss = await world.person("boss", unit=world.north)
    await world.people(logins, unit=world.north, manager=boss)
    return [world.client(login) for login in ("boss", *logins)]


async def test_a_request_waits_for_the_manager_until_its_day(world: World) -> None:
    cohort = await world.cohort(await world.office())
    boss, anna = await team(world, "anna")
    enrolment = await ok(anna.post(URL, json={"cohort_id": cohort}), 201)
    assert (enrolment["status"], enrolment["position"]) == ("requested", None)
    assert enrolment["possible"] == ["approve", "decline", "withdraw"]
    assert enrolment["programme_title"] == {"sv": "Att leda möten", "en": "Leading meetings"}
    waits = datetime.fromisoformat(enrolment["approve_before"]) - datetime.fromisoformat(enrolment["requested_at"])
    assert timedelta(days=14) <= waits < timedelta(days=15)

    assert [each["id"] for each in (await ok(boss.get(URL, params={"to_approve": True})))["items"]] == [enrolment["id"]]
    assert (await ok(anna.get(URL, params={"to_approve": True})))["items"] == []
    [event] = await world.events(EnrolmentRequested)
    assert (str(event.enrolment_id), event.unit_id) == (enrolment["id"], world.north)
    assert event.manager_id is not None


async def test_an_approval_makes_active_and_a_second_one_is_refused(world: World) -> None:
    cohort = await world.cohort(await world.office())
    boss, anna = await team(world, "anna")
    enrolment = await asked(anna, cohort)
    assert (await ok(boss.post(f"{URL}/{enrolment}/approve")))["status"] == "active"
    problem = await refused(boss.post(f"{URL}/{enrolment}/approve"), 409, "enrolment-state")
    assert "active" in problem["detail"]
    assert "withdraw" in problem["remedy"]
    assert len(await world.events(EnrolmentApproved)) == len(await world.events(EnrolmentActivated)) == 1
    assert (await ok(boss.get(URL, params={"to_approve": True})))["items"] == []


async def test_who_was_declined_may_ask_again(world: World) -> None:
    cohort = await world.cohort(await world.office())
    boss, anna = await team(world, "anna")
    first = await asked(anna, cohort)
    assert (await ok(boss.post(f"{URL}/{first}/decline")))["status"] == "declined"
    second = await asked(anna, cohort)
    assert second != first
    mine = (await ok(anna.get(URL, params={"mine": True})))["items"]
    assert [(each["id"], each["status"]) for each in mine] == [(second, "requested"), (first, "declined")]
    assert len(await world.events(EnrolmentDeclined)) == 1


ROADS: dict[str, list[tuple[str, str]]] = {
    "requested": [],
    "active": [("boss", "approve")],
    "declined": [("boss", "decline")],
    "withdrawn": [("anna", "withdraw")],
    "waitlisted": [("boss", "approve")],
    "completed": [("boss", "approve"), ("office", "milestones/first_meeting/waive"),
                  ("office", "milestones/working_group/waive")],
}  # fmt: skip
POSSIBLE = {"requested": {"approve", "decline", "withdraw"}, "active": {"withdraw"}, "waitlisted": {"withdraw"}}


@pytest.mark.parametrize("status", ROADS)
async def test_every_illegal_change_is_refused_naming_the_state(world: World, status: str) -> None:
    office = await world.office()
    cohort = await world.cohort(office, capacity=1)
    boss, anna, other = await team(world, "anna", "other")
    if status == "waitlisted":
        await ok(boss.post(f"{URL}/{await asked(other, cohort)}/approve"))
    enrolment = await asked(anna, cohort)
    for login, step in ROADS[status]:
        await ok(world.client(login).post(f"{URL}/{enrolment}/{step}"))
    told = len(await world.events())

    for change in {"approve", "decline", "withdraw"} - POSSIBLE.get(status, set()):
        who = anna if change == "withdraw" else boss
        problem = await refused(who.post(f"{URL}/{enrolment}/{change}"), 409, "enrolment-state")
        assert f"The enrolment is {status}" in problem["detail"]
    if status != "active":
        for step, who in (("reach", anna), ("waive", office), ("undo", office)):
            milestone = f"{URL}/{enrolment}/milestones/first_meeting/{step}"
            problem = await refused(who.post(milestone), 409, "enrolment-state")
            assert f"The enrolment is {status}" in problem["detail"]
    assert (await ok(anna.get(f"{URL}/{enrolment}")))["status"] == status
    assert len(await world.events()) == told


async def test_only_an_open_cohort_takes_requests(world: World) -> None:
    office = await world.office()
    cohort = await world.cohort(office)
    _, anna = await team(world, "anna")
    await ok(office.post(f"/enrolment/v1/cohorts/{cohort}/start"))
    problem = await refused(anna.post(URL, json={"cohort_id": cohort}), 409, "cohort-not-open")
    assert "running" in problem["detail"]
    await ok(office.post(f"/enrolment/v1/cohorts/{cohort}/close"))
    problem = await refused(anna.post(URL, json={"cohort_id": cohort}), 409, "cohort-not-open")
    assert "closed" in problem["detail"]
    assert problem["errors"][0]["field"] == "cohort_id"


@pytest.mark.parametrize("approved", [False, True])
async def test_there_is_one_open_enrolment_for_each_person_and_programme(world: World, approved: bool) -> None:
    cohort = await world.cohort(await world.office())
    boss, anna = await team(world, "anna")
    enrolment = await asked(anna, cohort)
    if approved:
        await ok(boss.post(f"{URL}/{enrolment}/approve"))
    await refused(anna.post(URL, json={"cohort_id": cohort}), 409, "already-enrolled")
    assert len(await world.events(EnrolmentRequested)) == 1


async def test_a_person_takes_part_in_one_cohort_of_a_programme_at_a_time(world: World) -> None:
    office = await world.office()
    spring = await world.cohort(office)
    programme = (await ok(office.get(f"/enrolment/v1/cohorts/{spring}")))["programme_id"]
    autumn, other = await world.cohort_of(office, programme, name="Autumn"), await world.cohort(office)
    [_, anna] = await team(world, "anna")
    first = await asked(anna, spring)
    problem = await refused(anna.post(URL, json={"cohort_id": autumn}), 409, "already-enrolled")
    assert "withdrawn first" in problem["remedy"]
    await asked(anna, other)
    await ok(anna.post(f"{URL}/{first}/withdraw"))
    await asked(anna, autumn)


async def test_whoever_has_finished_a_cohort_may_take_the_programme_again_in_another(world: World) -> None:
    office = await world.office()
    spring = await world.cohort(office)
    programme = (await ok(office.get(f"/enrolment/v1/cohorts/{spring}")))["programme_id"]
    [boss, anna] = await team(world, "anna")
    enrolment = await asked(anna, spring)
    await ok(boss.post(f"{URL}/{enrolment}/approve"))
    for milestone in ("first_meeting", "working_group"):
        await ok(anna.post(f"{URL}/{enrolment}/milestones/{milestone}/reach"))
    await refused(anna.post(URL, json={"cohort_id": spring}), 409, "already-enrolled")
    await asked(anna, await world.cohort_of(office, programme, name="Autumn"))


async def test_a_cohort_of_a_unit_takes_its_people_and_those_below(world: World) -> None:
    office = await world.office()
    for_north, for_all = await world.cohort(office, unit_id=str(world.north)), await world.cohort(office)
    for_hq = await world.cohort(office, unit_id=str(world.hq))
    await world.person("anna", unit=world.north)
    await world.person("sven", unit=world.south)
    await ok(world.client("anna").post(URL, json={"cohort_id": for_north}), 201)
    sven = world.client("sven")
    await refused(sven.post(URL, json={"cohort_id": for_north}), 403, "cohort-for-another-unit")
    await ok(sven.post(URL, json={"cohort_id": for_hq}), 201)
    await ok(sven.post(URL, json={"cohort_id": for_all}), 201)


async def test_who_is_on_leave_cannot_ask(world: World) -> None:
    cohort = await world.cohort(await world.office())
    await world.person("lena", status="on_leave")
    await refused(world.client("lena").post(URL, json={"cohort_id": cohort}), 409, "person-not-active")


async def test_only_the_manager_of_today_answers(world: World) -> None:
    office = await world.office()
    cohort = await world.cohort(office)
    old, new = await world.person("old"), await world.person("new")
    anna_id = await world.person("anna", manager=old)
    anna = world.client("anna")
    enrolment = await asked(anna, cohort)
    await world.pool.execute("update people set manager_id = $2 where id = $1", anna_id, new)
    for change in ("approve", "decline"):
        for concerned in (anna, office):
            await refused(concerned.post(f"{URL}/{enrolment}/{change}"), 403, "forbidden")
        await refused(world.client("old").post(f"{URL}/{enrolment}/{change}"), 404, "not-found")
    assert (await ok(world.client("old").get(URL, params={"to_approve": True})))["items"] == []
    await ok(world.client("new").post(f"{URL}/{enrolment}/approve"))
    assert [event.manager_id for event in await world.events(EnrolmentApproved)] == [new]


@pytest.mark.parametrize("manager", ["none", "left"])
async def test_the_programme_office_answers_for_who_has_no_manager(world: World, manager: str) -> None:
    office = await world.office()
    cohort = await world.cohort(office)
    boss = await world.person("boss", status="inactive") if manager == "left" else None
    await world.person("anna", unit=world.north, manager=boss)
    enrolment = await asked(world.client("anna"), cohort)
    south = await world.office("south-office", world.south)
    await refused(south.post(f"{URL}/{enrolment}/approve"), 404, "not-found")
    assert (await ok(south.get(URL, params={"to_approve": True})))["items"] == []
    north = await world.office("north-office", world.north)
    for responsible in (office, north):
        waiting = (await ok(responsible.get(URL, params={"to_approve": True})))["items"]
        assert [each["id"] for each in waiting] == [enrolment]
    assert (await ok(north.post(f"{URL}/{enrolment}/approve")))["status"] == "active"


async def test_nobody_answers_their_own_request(world: World) -> None:
    office = await world.office()
    enrolment = await asked(office, await world.cohort(office))
    await refused(office.post(f"{URL}/{enrolment}/approve"), 403, "forbidden")
    assert (await ok(office.get(URL, params={"to_approve": True})))["items"] == []


@pytest.mark.parametrize("who", ["anna", "boss", "office"])
async def test_a_withdrawal_gives_the_place_to_who_was_approved_first(world: World, who: str) -> None:
    cohort = await world.cohort(await world.office(), capacity=1)
    boss, anna, bo, cia, dan = await team(world, "anna", "bo", "cia", "dan")
    ids = {person: await asked(client, cohort) for person, client in
           (("anna", anna), ("bo", bo), ("cia", cia), ("dan", dan))}  # fmt: skip
    positions = [
        (await ok(boss.post(f"{URL}/{ids[person]}/approve")))["position"] for person in ("anna", "dan", "bo", "cia")
    ]
    assert positions == [None, 1, 2, 3]
    assert (await ok(bo.post(f"{URL}/{ids['bo']}/withdraw")))["status"] == "withdrawn"
    assert (await ok(cia.get(f"{URL}/{ids['cia']}")))["position"] == 2

    await ok(world.client(who).post(f"{URL}/{ids['anna']}/withdraw"))
    states = {person: (await ok(boss.get(f"{URL}/{ids[person]}")))["status"] for person in ids}
    assert states == {"anna": "withdrawn", "bo": "withdrawn", "cia": "waitlisted", "dan": "active"}
    assert [(str(event.enrolment_id), event.promoted) for event in await world.events(EnrolmentActivated)] == [
        (ids["anna"], False),
        (ids["dan"], True),
    ]
    assert [event.position for event in await world.events(EnrolmentWaitlisted)] == [1, 2, 3]
    assert len(await world.events(EnrolmentWithdrawn)) == 2


async def test_more_places_go_to_who_waits_in_order_and_fewer_only_down_to_the_taken(world: World) -> None:
    office = await world.office()
    cohort = await world.cohort(office, capacity=1)
    logins = ["a", "b", "c", "d"]
    boss, *people = await team(world, *logins)
    ids = [await asked(person, cohort) for person in people]
    for enrolment in reversed(ids):
        await ok(boss.post(f"{URL}/{enrolment}/approve"))
    capacity = f"/enrolment/v1/cohorts/{cohort}/capacity"
    places = (await ok(office.post(capacity, json={"capacity": 3})))["places"]
    assert (places["active"], places["waitlisted"]) == (3, 1)
    promoted = [str(event.enrolment_id) for event in await world.events(EnrolmentActivated) if event.promoted]
    assert promoted == [ids[2], ids[1]]
    await refused(office.post(capacity, json={"capacity": 2}), 409, "capacity-is-taken")
    assert (await ok(office.get(f"/enrolment/v1/cohorts/{cohort}")))["status"] == "full"


async def test_a_running_cohort_still_answers_and_promotes_and_a_closed_one_ends_what_waits(world: World) -> None:
    office = await world.office()
    cohort = await world.cohort(office, capacity=1)
    boss, anna, bo, cia, dan = await team(world, "anna", "bo", "cia", "dan")
    ids = [await asked(person, cohort) for person in (anna, bo, cia, dan)]
    await ok(office.post(f"/enrolment/v1/cohorts/{cohort}/start"))
    for enrolment in ids[:3]:
        await ok(boss.post(f"{URL}/{enrolment}/approve"))
    await ok(anna.post(f"{URL}/{ids[0]}/withdraw"))
    await ok(office.post(f"/enrolment/v1/cohorts/{cohort}/close"))
    states = [(await ok(boss.get(f"{URL}/{enrolment}")))["status"] for enrolment in ids]
    assert states == ["withdrawn", "active", "expired", "expired"]
    await ok(bo.post(f"{URL}/{ids[1]}/withdraw"))
    assert (await ok(cia.get(f"{URL}/{ids[2]}")))["status"] == "expired"


async def test_strangers_neither_see_nor_change_an_enrolment(world: World) -> None:
    cohort = await world.cohort(await world.office())
    _, anna = await team(world, "anna")
    enrolment = await asked(anna, cohort)
    await world.person("colleague", unit=world.north)
    for stranger in (world.client("colleague"), await world.office("south-office", world.south)):
        await refused(stranger.get(f"{URL}/{enrolment}"), 404, "not-found")
        await refused(stranger.get(f"{URL}/{enrolment}/milestones"), 404, "not-found")
        for change in ("approve", "decline", "withdraw"):
            await refused(stranger.post(f"{URL}/{enrolment}/{change}"), 404, "not-found")
    await refused(world.client("colleague").get(URL, params={"cohort": cohort}), 403, "forbidden")


async def test_the_office_lists_a_cohort_for_its_own_units_and_that_is_on_record(world: World) -> None:
    office = await world.office()
    cohort = await world.cohort(office)
    logins = ["a", "b", "c"]
    _, *people = await team(world, *logins)
    ids = [await asked(person, cohort) for person in people]
    await world.person("sven", unit=world.south)
    ids.append(await asked(world.client("sven"), cohort))

    first = await ok(office.get(URL, params={"cohort": cohort, "limit": 3}))
    rest = await ok(office.get(URL, params={"cohort": cohort, "limit": 3, "cursor": first["next"]}))
    assert [each["id"] for each in first["items"] + rest["items"]] == ids
    assert rest["next"] is None
    south = await world.office("south-office", world.south)
    assert [each["id"] for each in (await ok(south.get(URL, params={"cohort": cohort})))["items"]] == ids[3:]
    assert (await ok(office.get(URL, params={"cohort": cohort, "status": "active"})))["items"] == []
    seen = await world.pool.fetch("select subject, count(*) from audit_log where action = 'enrolment.read' group by 1")
    assert len(seen) == 4


async def looks(world: World) -> int:
    """How many looks at somebody's enrolment are on record."""
    count: int = await world.pool.fetchval("select count(*) from audit_log where action = 'enrolment.read'")
    return count


async def test_only_those_on_the_page_are_on_record_as_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = await world.cohort(office := await world.office())
    boss, *people = await team(world, "anna", "bo", "cia")
    for person in people:
        await asked(person, cohort)
    monkeypatch.setattr(approvals, "PER_PAGE", 2)
    monkeypatch.setattr(places, "PER_PAGE", 2)
    for client, path in (
        (boss, f"{URL}?to_approve=true&limit=2"),
        (office, f"{URL}?cohort={cohort}&limit=2"),
        (boss, "/enrolment/approvals"),
        (office, f"/enrolment/cohorts/{cohort}"),
    ):
        before = await looks(world)
        assert (await client.get(path)).status_code == 200
        assert await looks(world) == before + 2, path


async def test_looking_at_ones_own_is_not_on_record_but_others_looking_is(world: World) -> None:
    cohort = await world.cohort(await world.office())
    boss, anna = await team(world, "anna")
    enrolment = await asked(anna, cohort)
    await ok(anna.get(f"{URL}/{enrolment}"))
    await ok(boss.get(f"{URL}/{enrolment}"))
    await ok(boss.post(f"{URL}/{enrolment}/approve"))
    actions = await world.pool.fetch("select action from audit_log where action like 'enrolment.%' order by at")
    assert [row["action"] for row in actions] == ["enrolment.read", "enrolment.approve"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "cohort_id"),
        ({"cohort_id": "spring"}, "cohort_id"),
        ({"cohort_id": None}, "cohort_id"),
        ({"cohort_id": str(new_id()), "person_id": str(new_id())}, "person_id"),
    ],
)
async def test_a_request_that_is_not_right_names_the_field(world: World, body: dict[str, Any], field: str) -> None:
    await world.person("anna")
    problem = await refused(world.client("anna").post(URL, json=body), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_unknown_ids_are_not_found(world: World) -> None:
    await world.person("anna")
    anna = world.client("anna")
    await refused(anna.post(URL, json={"cohort_id": str(new_id())}), 404, "not-found")
    await refused(anna.get(f"{URL}/{new_id()}"), 404, "not-found")
    for change in ("approve", "decline", "withdraw"):
        await refused(anna.post(f"{URL}/{new_id()}/{change}"), 404, "not-found")
        await refused(anna.post(f"{URL}/42/{change}"), 422, "invalid-request")
    office = await world.office()
    await refused(office.get(URL, params={"cohort": str(new_id())}), 404, "not-found")


@pytest.mark.parametrize("params", [{}, {"mine": True, "to_approve": True}, {"mine": True, "cohort": str(new_id())}])
async def test_a_list_says_which_enrolments_it_wants(world: World, params: dict[str, Any]) -> None:
    await world.person("anna")
    await refused(world.client("anna").get(URL, params=params), 422, "invalid-request")


async def test_a_machine_has_no_place_to_ask_for(world: World) -> None:
    cohort = await world.cohort(await world.office())
    token = await world.machine("dashboards", Role.stream_reader)
    headers = {"authorization": f"Bearer {token}"}
    machine = world.client("nobody")
    machine.cookies.clear()
    await refused(machine.post(URL, json={"cohort_id": cohort}, headers=headers), 403, "forbidden")
    assert (await ok(machine.get(URL, params={"mine": True}, headers=headers)))["items"] == []


async def test_the_same_request_again_is_answered_alike_and_tells_nothing_new(world: World) -> None:
    cohort = await world.cohort(await world.office())
    boss, anna = await team(world, "anna")
    key = {"Idempotency-Key": "ask-once"}
    first = await ok(anna.post(URL, json={"cohort_id": cohort}, headers=key), 201)
    assert await ok(anna.post(URL, json={"cohort_id": cohort}, headers=key), 201) == first
    for _ in range(2):
        await ok(boss.post(f"{URL}/{first['id']}/approve", headers=key))
    assert len(await world.events(EnrolmentRequested)) == len(await world.events(EnrolmentApproved)) == 1
