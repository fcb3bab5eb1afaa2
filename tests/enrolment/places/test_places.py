"""Places under concurrency: never one too many, never one too few, and the waiting list in the order of approval."""

import asyncio
from datetime import timedelta
from uuid import UUID

import httpx

from shared.events import EnrolmentActivated, EnrolmentApproved, EnrolmentWaitlisted
from tests.enrolment.facts import handle, left, run_timers
from tests.enrolment.world import World, ok

URL = "/enrolment/v1/enrolments"


async def requests(world: World, cohort: str, count: int) -> list[str]:
    """As many people who report to `boss` ask for a place, one after the other."""
    boss = await world.person("boss")
    await world.people([f"person-{nth}" for nth in range(count)], manager=boss)
    ids: list[str] = []
    for nth in range(count):
        made = await ok(world.client(f"person-{nth}").post(URL, json={"cohort_id": cohort}), 201)
        ids.append(made["id"])
    return ids


async def test_200_simultaneous_approvals_for_40_places_give_exactly_40(world: World) -> None:
    cohort = await world.cohort(await world.office(), capacity=40)
    ids = await requests(world, cohort, 200)
    boss = world.client("boss")

    answers = await asyncio.gather(*(ok(boss.post(f"{URL}/{enrolment}/approve")) for enrolment in ids))

    assert sorted(answer["status"] for answer in answers) == ["active"] * 40 + ["waitlisted"] * 160
    order = await world.pool.fetch("select id, status, approval from enrolments order by approval")
    assert [row["approval"] for row in order] == list(range(1, 201))
    assert [row["status"] for row in order] == ["active"] * 40 + ["waitlisted"] * 160

    waitlisted = await world.events(EnrolmentWaitlisted)
    assert {event.enrolment_id: event.position for event in waitlisted} == {
        row["id"]: nth for nth, row in enumerate(order[40:], start=1)
    }
    assert [event.enrolment_id for event in await world.events(EnrolmentApproved)] == [row["id"] for row in order]
    assert len(await world.events(EnrolmentActivated)) == 40


async def test_approvals_withdrawals_and_more_places_at_once_leave_no_place_empty_and_none_twice(
    world: World,
) -> None:
    office = await world.office()
    cohort = await world.cohort(office, capacity=5)
    ids = await requests(world, cohort, 40)
    boss = world.client("boss")
    for enrolment in ids[:10]:
        await ok(boss.post(f"{URL}/{enrolment}/approve"))

    await asyncio.gather(
        *(ok(boss.post(f"{URL}/{enrolment}/approve")) for enrolment in ids[10:]),
        *(ok(boss.post(f"{URL}/{enrolment}/withdraw")) for enrolment in ids[:8]),
        *(ok(office.post(f"/enrolment/v1/cohorts/{cohort}/capacity", json={"capacity": 7})) for _ in range(3)),
    )

    rows = await world.pool.fetch("select id, status from enrolments where status <> 'withdrawn' order by approval")
    assert [row["status"] for row in rows] == ["active"] * 7 + ["waitlisted"] * 25
    activated = [event.enrolment_id for event in await world.events(EnrolmentActivated)]
    assert len(activated) == len(set(activated))


async def test_the_same_person_asking_twice_at_once_gets_one_request(world: World) -> None:
    cohort = await world.cohort(await world.office())
    await world.person("anna")
    anna = world.client("anna")
    answers = await asyncio.gather(*(anna.post(URL, json={"cohort_id": cohort}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


async def test_a_cohort_that_closes_while_people_ask_leaves_nobody_waiting(world: World) -> None:
    office = await world.office()
    cohort = await world.cohort(office)
    await world.people([f"person-{nth}" for nth in range(20)])
    await asyncio.gather(
        *(world.client(f"person-{nth}").post(URL, json={"cohort_id": cohort}) for nth in range(20)),
        ok(office.post(f"/enrolment/v1/cohorts/{cohort}/close")),
    )
    assert await world.pool.fetchval("select count(*) from enrolments where status <> 'expired'") == 0


async def test_answers_withdrawals_departures_expiry_and_closing_at_once_never_block_each_other(world: World) -> None:
    office = await world.office()
    cohorts = [await world.cohort(office, capacity=5), await world.cohort(office, capacity=5)]
    ids = [*await requests(world, cohorts[0], 40)]
    ids += [
        (await ok(world.client(f"person-{nth}").post(URL, json={"cohort_id": cohorts[1]}), 201))["id"]
        for nth in range(40)
    ]
    boss = world.client("boss")
    for enrolment in ids[::4]:
        await ok(boss.post(f"{URL}/{enrolment}/approve"))
    leaving = await world.pool.fetch("select id from people where login like 'person-1%'")
    world.pass_time(timedelta(days=15))

    answers = await asyncio.gather(
        *(boss.post(f"{URL}/{enrolment}/approve") for enrolment in ids),
        *(boss.post(f"{URL}/{enrolment}/withdraw") for enrolment in reversed(ids[::3])),
        *(office.post(f"/enrolment/v1/cohorts/{cohort}/capacity", json={"capacity": 9}) for cohort in cohorts),
        office.post(f"/enrolment/v1/cohorts/{cohorts[1]}/close"),
        *(handle(world, left(row["id"], world.hq, world.now)) for row in leaving),
        run_timers(world),
    )

    assert {answer.status_code for answer in answers if isinstance(answer, httpx.Response)} <= {200, 409}
    open_cohort, closed = [
        await world.pool.fetchval("select array_agg(status) from enrolments where cohort_id = $1", UUID(cohort))
        for cohort in cohorts
    ]
    assert open_cohort.count("active") <= 9
    assert "waitlisted" not in open_cohort or open_cohort.count("active") == 9
    assert not {"requested", "waitlisted"} & set(closed)
    assert await world.pool.fetchval("select count(*) from departures") == len(leaving)
