"""What waits for oneself: counted where it is known, shown where one begins, hidden where there is nothing."""

from tests.enrolment.me.test_pages import page, press, team
from tests.enrolment.world import World, ok

API = "/enrolment/v1/enrolments"
WAITING = "/enrolment/v1/waiting"


async def test_what_waits_is_said_where_one_begins_and_counted_for_the_navigation(world: World) -> None:
    anna, boss, office = await team(world)
    assert "Waiting for you" not in await page(boss, "/enrolment/me")
    cohort = await world.cohort(office)
    asked = await ok(anna.post(API, json={"cohort_id": cohort}), 201)
    assert await ok(boss.get(WAITING)) == {"requests": 1, "milestones": 0, "total": 1}
    assert "Waiting for you 1 request to answer" in await page(boss, "/enrolment/me")

    await press(boss, f"/enrolment/approvals/{asked['id']}/approve")
    for key in ("first_meeting", "working_group"):
        await ok(anna.post(f"{API}/{asked['id']}/milestones/{key}/reach"))
    assert await ok(boss.get(WAITING)) == {"requests": 0, "milestones": 2, "total": 2}
    assert "2 milestones to attest" in await page(boss, "/enrolment/me")
    assert await ok(anna.get(WAITING)) == {"requests": 0, "milestones": 0, "total": 0}
    assert await world.pool.fetchval("select count(*) from audit_log where action = 'milestone.read'") == 0


async def test_the_office_counts_the_requests_that_no_manager_can_answer(world: World) -> None:
    anna, _, office = await team(world)
    await world.person("Bo")
    cohort = await world.cohort(office)
    for client in (anna, world.client("Bo")):
        await ok(client.post(API, json={"cohort_id": cohort}), 201)
    assert (await ok(office.get(WAITING)))["requests"] == 1
    await world.pool.execute("update people set status = 'on_leave' where login = 'Boss'")
    assert (await ok(office.get(WAITING)))["requests"] == 2


async def test_who_has_nobody_to_answer_for_has_no_entry_for_it(world: World) -> None:
    anna, boss, office = await team(world)
    entry = 'href="/enrolment/approvals"'
    assert entry not in (await anna.get("/enrolment/me")).text
    assert entry in (await boss.get("/enrolment/me")).text
    assert entry in (await office.get("/enrolment/me")).text
    await world.pool.execute("update people set status = 'inactive' where login = 'Anna'")
    assert entry not in (await boss.get("/enrolment/me")).text
