"""Enrolments end by themselves: nobody answered in time, or the person left the organisation."""

from dataclasses import replace
from datetime import timedelta

from shared.events import (
    EnrolmentActivated,
    EnrolmentApproverChanged,
    EnrolmentExpired,
    EnrolmentRequested,
    EnrolmentWithdrawn,
)
from tests.enrolment.facts import got_manager, handle, left, run_timers
from tests.enrolment.world import World, ok, refused

URL = "/enrolment/v1/enrolments"


async def asked(world: World, login: str, cohort: str) -> str:
    made = await ok(world.client(login).post(URL, json={"cohort_id": cohort}), 201)
    enrolment: str = made["id"]
    return enrolment


async def states(world: World, *ids: str) -> list[str]:
    rows = {str(row["id"]): row["status"] for row in await world.pool.fetch("select id, status from enrolments")}
    return [rows[each] for each in ids]


async def test_a_request_that_nobody_answers_expires_on_its_day_and_not_before(world: World) -> None:
    cohort = await world.cohort(await world.office())
    boss = await world.person("boss")
    await world.people(["anna", "bo"], manager=boss)
    unanswered, answered = await asked(world, "anna", cohort), await asked(world, "bo", cohort)
    await ok(world.client("boss").post(f"{URL}/{answered}/approve"))

    world.pass_time(timedelta(days=14))
    assert await run_timers(world) == 0
    world.pass_time(timedelta(days=15))
    assert await run_timers(world) == 2
    assert await states(world, unanswered, answered) == ["expired", "active"]
    assert [str(event.enrolment_id) for event in await world.events(EnrolmentExpired)] == [unanswered]

    await refused(world.client("boss").post(f"{URL}/{unanswered}/approve"), 409, "enrolment-state")
    assert await run_timers(world) == 0
    assert (await ok(world.client("anna").post(URL, json={"cohort_id": cohort}), 201))["status"] == "requested"


async def test_a_new_manager_is_told_of_requests_that_wait_and_of_no_others(world: World) -> None:
    office = await world.office()
    cohort, other = await world.cohort(office), await world.cohort(office)
    old, new = await world.person("old"), await world.person("new")
    anna = await world.person("anna", manager=old)
    answered = await asked(world, "anna", other)
    await ok(world.client("old").post(f"{URL}/{answered}/decline"))
    waiting = await asked(world, "anna", cohort)
    await world.pool.execute("update people set manager_id = $2 where id = $1", anna, new)
    overtaken, fact = got_manager(anna, world.hq, None, world.now), got_manager(anna, world.hq, new, world.now)
    await handle(world, got_manager(anna, world.hq, new, world.now - timedelta(hours=1)))  # they asked the new one then
    await handle(world, overtaken, fact)
    await handle(world, fact)
    [told] = await world.events(EnrolmentApproverChanged)
    [asked_for] = [each for each in await world.events(EnrolmentRequested) if str(each.enrolment_id) == waiting]
    assert (str(told.enrolment_id), told.manager_id, told.approve_before) == (waiting, new, asked_for.approve_before)
    await refused(world.client("old").post(f"{URL}/{waiting}/approve"), 404, "not-found")
    await ok(world.client("new").post(f"{URL}/{waiting}/approve"))


async def test_who_leaves_gives_up_every_enrolment_and_the_places_go_to_who_waits(world: World) -> None:
    office = await world.office()
    small, large = await world.cohort(office, capacity=1), await world.cohort(office)
    boss = await world.person("boss")
    anna, *_ = await world.people(["anna", "bo", "cia"], manager=boss)
    ids = [await asked(world, login, small) for login in ("anna", "bo", "cia")]
    for enrolment in ids:
        await ok(world.client("boss").post(f"{URL}/{enrolment}/approve"))
    open_request = await asked(world, "anna", large)
    await world.pool.execute("update people set status = 'inactive' where id = $1", anna)

    fact = left(anna, world.hq, world.now)
    await handle(world, fact)
    assert await states(world, *ids, open_request) == ["withdrawn", "active", "waitlisted", "withdrawn"]
    caused = await world.pool.fetch("select type from outbox where caused_by = $1 order by seq", fact.id)
    assert [row["type"] for row in caused] == [
        EnrolmentWithdrawn.type,
        EnrolmentWithdrawn.type,
        EnrolmentActivated.type,
    ]
    assert [tuple(row) for row in await world.pool.fetch("select event_id, person_id, withdrawn from departures")] == [
        (fact.id, anna, 2)
    ]


async def test_the_same_departure_again_does_nothing_again(world: World) -> None:
    cohort = await world.cohort(await world.office())
    anna = await world.person("anna")
    await asked(world, "anna", cohort)
    fact = left(anna, world.hq, world.now)
    await handle(world, fact, replace(fact, offset=1))
    await handle(world, replace(fact, offset=2))
    assert len(await world.events(EnrolmentWithdrawn)) == 1
    assert await world.pool.fetchval("select count(*) from departures") == 1


async def test_several_people_leave_in_one_batch(world: World) -> None:
    office = await world.office()
    cohort = await world.cohort(office, capacity=2)
    boss = await world.person("boss")
    logins = ["a", "b", "c", "d", "e"]
    people = await world.people(logins, manager=boss)
    ids = [await asked(world, login, cohort) for login in logins]
    for enrolment in ids:
        await ok(world.client("boss").post(f"{URL}/{enrolment}/approve"))
    gone = [people[0], people[1], people[2]]
    await world.pool.execute("update people set status = 'inactive' where id = any($1::uuid[])", gone)
    await handle(world, *(left(person, world.hq, world.now) for person in gone))
    assert await states(world, *ids) == ["withdrawn", "withdrawn", "withdrawn", "active", "active"]
    assert await world.pool.fetchval("select sum(withdrawn) from departures") == 3


async def test_a_departure_that_comes_late_spares_what_was_asked_for_since(world: World) -> None:
    office = await world.office()
    before, after = await world.cohort(office), await world.cohort(office)
    anna = await world.person("anna")
    old = await asked(world, "anna", before)
    departed_at = world.now
    new = await asked(world, "anna", after)
    await handle(world, left(anna, world.hq, departed_at))
    assert await states(world, old, new) == ["withdrawn", "requested"]


async def test_a_departure_of_somebody_without_enrolments_leaves_only_its_record(world: World) -> None:
    anna = await world.person("anna")
    await handle(world, left(anna, world.hq, world.now))
    assert await world.pool.fetchval("select withdrawn from departures") == 0
    assert await world.events() == []


async def test_who_left_is_passed_over_when_a_place_comes_free(world: World) -> None:
    cohort = await world.cohort(await world.office(), capacity=1)
    boss = await world.person("boss")
    _, bo, _ = await world.people(["anna", "bo", "cia"], manager=boss)
    ids = [await asked(world, login, cohort) for login in ("anna", "bo", "cia")]
    for enrolment in ids:
        await ok(world.client("boss").post(f"{URL}/{enrolment}/approve"))
    await world.pool.execute("update people set status = 'inactive' where id = $1", bo)
    await ok(world.client("anna").post(f"{URL}/{ids[0]}/withdraw"))
    assert await states(world, *ids) == ["withdrawn", "waitlisted", "active"]


async def test_a_request_of_somebody_who_left_cannot_be_approved(world: World) -> None:
    cohort = await world.cohort(await world.office())
    boss = await world.person("boss")
    anna = await world.person("anna", manager=boss)
    enrolment = await asked(world, "anna", cohort)
    await world.pool.execute("update people set status = 'inactive' where id = $1", anna)
    await refused(world.client("boss").post(f"{URL}/{enrolment}/approve"), 409, "person-not-active")
    await ok(world.client("boss").post(f"{URL}/{enrolment}/decline"))
