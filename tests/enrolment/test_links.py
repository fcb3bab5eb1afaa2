"""A programme from its plan to its end, by nothing but the links of the answers before."""

import httpx

from services.enrolment.service import SERVICE
from shared.events import Role
from tests.enrolment.world import GROUP, MEETING, TITLE, World, a_cohort
from tests.support.links import follow

DOCUMENT = SERVICE.api.openapi()
CSV = "Employee ID,Given name,Family name,Email,Unit\nE1,Anna,Berg,anna@example.org,Care\n"


def said(answer: httpx.Response, status: int = 200) -> httpx.Response:
    assert answer.status_code == status, answer.text
    return answer


async def test_a_programme_is_led_from_plan_to_attested_milestone(world: World) -> None:
    office = await world.office()
    boss_id = await world.person("boss", unit=world.north)
    await world.person("anna", unit=world.north, manager=boss_id)
    boss, anna = world.client("boss"), world.client("anna")

    plan = {"title": TITLE, "milestones": [MEETING, GROUP]}
    draft = said(await office.post("/enrolment/v1/programmes", json=plan), 201)
    published = said(await follow(DOCUMENT, office, draft, "publish_version"))
    programme = said(await follow(DOCUMENT, anna, published, "get_programme"))
    assert programme.json()["versions"][0]["status"] == "published"

    planned = said(await office.post("/enrolment/v1/cohorts", json=a_cohort(programme.json()["id"])), 201)
    assert said(await follow(DOCUMENT, anna, programme, "list_cohorts")).json()["items"] == [planned.json()]
    opened = said(await follow(DOCUMENT, office, planned, "open_cohort"))
    assert said(await follow(DOCUMENT, office, opened, "set_capacity", capacity=12)).json()["places"]["capacity"] == 12

    asked = said(await anna.post("/enrolment/v1/enrolments", json={"cohort_id": opened.json()["id"]}), 201)
    approved = said(await follow(DOCUMENT, boss, asked, "approve_enrolment"))
    listed = said(await follow(DOCUMENT, office, opened, "list_enrolments"))
    assert listed.json()["items"] == [approved.json()]
    assert said(await follow(DOCUMENT, boss, listed, "get_enrolment")).json() == approved.json()

    journey = said(await follow(DOCUMENT, anna, listed, "get_journey"))
    reached = said(await follow(DOCUMENT, anna, journey, "reach_milestone"))
    attested = said(await follow(DOCUMENT, boss, reached, "attest_milestone"))
    assert [each["status"] for each in attested.json()["milestones"]] == ["attested", "pending"]
    withdrawn = said(await follow(DOCUMENT, anna, listed, "withdraw_enrolment"))
    assert withdrawn.json()["status"] == "withdrawn"
    ended = said(
        await follow(DOCUMENT, office, said(await follow(DOCUMENT, office, opened, "start_cohort")), "close_cohort")
    )
    assert said(await follow(DOCUMENT, anna, ended, "get_cohort")).json()["status"] == "closed"


async def test_a_list_is_walked_to_its_end_and_an_import_followed_to_its_report(world: World) -> None:
    headers = {"authorization": f"Bearer {await world.machine('hr', Role.hr_integration)}"}
    await world.people([f"p{n}" for n in range(5)])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(world.app), base_url="http://127.0.0.1:8080", headers=headers
    ) as machine:
        page = said(await machine.get("/enrolment/v1/people", params={"limit": 2}))
        logins = [each["login"] for each in page.json()["items"]]
        assert said(await follow(DOCUMENT, machine, page, "get_person")).json()["login"] == logins[0]
        while page.json()["next"] is not None:
            page = said(await follow(DOCUMENT, machine, page, "next"))
            logins += [each["login"] for each in page.json()["items"]]
        assert sorted(logins) == [f"p{n}" for n in range(5)]

        sent = said(await machine.post("/enrolment/v1/imports", content=CSV), 202)
        assert said(await follow(DOCUMENT, machine, sent, "get_import")).json()["status"] == "queued"
        cancelled = said(await follow(DOCUMENT, machine, sent, "cancel_import"), 202)
        listed = said(await machine.get("/enrolment/v1/imports"))
        assert said(await follow(DOCUMENT, machine, listed, "get_import")).json() == cancelled.json()
