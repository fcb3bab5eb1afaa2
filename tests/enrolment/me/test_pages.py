"""Pages: the same rules as the API, in the reader's language, and a form that can be sent twice."""

import html
import re
from datetime import timedelta

import httpx
import pytest

from services.enrolment.approvals import pages as approvals
from services.enrolment.me import pages as enrolments
from shared.events import EnrolmentApproved, MilestoneReached
from shared.http.pagination import encode_cursor
from shared.ids import new_id
from tests.enrolment.world import World, ok

API = "/enrolment/v1/enrolments"


async def page(client: httpx.AsyncClient, path: str, status: int = 200) -> str:
    """The words of a page, without its markup."""
    response = await client.get(path, headers={"accept": "text/html"})
    assert response.status_code == status, response.text
    return words(response)


def words(response: httpx.Response) -> str:
    body = response.text[response.text.index("<main") :]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


async def press(client: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    """Send a form and follow it to the page it leads to."""
    response = await client.post(path, data=fields, headers={"accept": "text/html"}, follow_redirects=True)
    assert response.status_code == 200, response.text
    return response


async def team(world: World) -> tuple[httpx.AsyncClient, httpx.AsyncClient, httpx.AsyncClient]:
    office = await world.office()
    boss = await world.person("Boss")
    await world.person("Anna", manager=boss)
    return world.client("Anna"), world.client("Boss"), office


async def test_a_journey_through_the_pages(world: World) -> None:
    anna, boss, office = await team(world)
    assert "No cohort is open to you" in await page(anna, "/enrolment/me")
    assert "No requests are waiting" in await page(boss, "/enrolment/approvals")
    cohort = await world.cohort(office)
    assert "Leading meetings" in await page(anna, "/enrolment/me")

    assert "Your manager has your request and will answer by" in words(
        await press(anna, "/enrolment/me/ask", cohort_id=cohort)
    )
    [enrolment] = (await ok(anna.get(API, params={"mine": True})))["items"]
    assert "Anna Test" in await page(boss, "/enrolment/approvals")
    answered = words(await press(boss, f"/enrolment/approvals/{enrolment['id']}/approve"))
    assert "Anna Test has a place" in answered

    assert "Lead a meeting" in await page(anna, "/enrolment/me")
    reached = await press(anna, f"/enrolment/me/{enrolment['id']}/milestones/first_meeting/reach")
    assert "Milestone reached" in words(reached)
    assert "Your people say they have reached these" in await page(boss, "/enrolment/approvals")
    attested = await press(boss, f"/enrolment/approvals/{enrolment['id']}/milestones/first_meeting/attest")
    assert "Milestone attested" in words(attested)
    assert "Your people say" not in words(attested)

    seen = await page(office, f"/enrolment/cohorts/{cohort}")
    assert "1 of 40 places taken" in seen
    assert "Anna Test" in seen
    assert "Do you want to end" in await page(anna, f"/enrolment/me/{enrolment['id']}/withdraw")
    assert "Ended early" in words(await press(anna, f"/enrolment/me/{enrolment['id']}/withdraw"))


async def test_what_cannot_be_undone_is_asked_about_first(world: World) -> None:
    anna, boss, office = await team(world)
    cohort = await world.cohort(office)
    await press(anna, "/enrolment/me/ask", cohort_id=cohort)
    [enrolment] = (await ok(anna.get(API, params={"mine": True})))["items"]
    assert "Do you want to withdraw your request?" in await page(anna, f"/enrolment/me/{enrolment['id']}/withdraw")
    asked = await boss.get(f"/enrolment/approvals/{enrolment['id']}/decline", headers={"accept": "text/html"})
    assert "decline the request from Anna Test?" in words(asked)
    assert f'action="/enrolment/approvals/{enrolment["id"]}/decline"' in asked.text
    assert "Do you want to close Spring?" in await page(office, f"/enrolment/cohorts/{cohort}/close")
    assert (await anna.get(f"/enrolment/cohorts/{cohort}/close")).status_code == 403
    [after] = (await ok(anna.get(API, params={"mine": True})))["items"]
    assert after["status"] == "requested", "asking changes nothing"


async def test_before_a_round_opens_it_is_said_whom_it_asks_and_a_mistake_can_be_undone(world: World) -> None:
    anna, boss, office = await team(world)
    ids = {row["login"]: row["id"] for row in await world.pool.fetch("select login, id from people")}
    await world.people([f"Peer{n}" for n in range(20)], manager=ids["Boss"])
    await world.people(["Led1", "Led2"], manager=ids["Anna"])
    await press(anna, "/enrolment/me/ask", cohort_id=await world.cohort(office))
    [enrolment] = (await ok(anna.get(API, params={"mine": True})))["items"]
    await press(boss, f"/enrolment/approvals/{enrolment['id']}/approve")

    reach = f"/enrolment/me/{enrolment['id']}/milestones/first_meeting/reach"
    assert f'href="{reach}"' in (await anna.get("/enrolment/me")).text, "one is asked first"
    asked = await page(anna, reach)
    assert "at most 14 people: you your manager at most 12 of your colleagues" in asked
    assert "lead" not in asked.partition("colleagues")[2].partition("You can undo")[0], "the plan does not ask them"
    assert await world.events(MilestoneReached) == []
    assert "You can undo it until" in words(await press(anna, reach))
    assert "is still to do" in words(await press(anna, reach.replace("/reach", "/undo")))

    await press(anna, reach)
    world.pass_time(timedelta(minutes=16))
    assert "You can undo it" not in await page(anna, "/enrolment/me")
    last = f"/enrolment/me/{enrolment['id']}/milestones/working_group/reach"
    assert "completes your enrolment, which cannot be undone" in await page(anna, last)


async def test_with_nobody_around_it_is_said_that_no_round_opens(world: World) -> None:
    office = await world.office()
    await world.person("Anna", unit=world.north)
    anna = world.client("Anna")
    await press(anna, "/enrolment/me/ask", cohort_id=await world.cohort(office))
    [enrolment] = (await ok(anna.get(API, params={"mine": True})))["items"]
    await ok(office.post(f"{API}/{enrolment['id']}/approve"))
    asked = await page(anna, f"/enrolment/me/{enrolment['id']}/milestones/first_meeting/reach")
    assert "emailed straight away to one person: you " in asked


async def test_an_address_that_cannot_be_right_leads_nowhere(world: World) -> None:
    office = await world.office()
    page_ = await office.get("/enrolment/cohorts/banana", headers={"accept": "text/html"})
    assert page_.status_code == 404
    assert (await office.get("/enrolment/v1/cohorts/banana")).status_code == 422


async def walk(client: httpx.AsyncClient, path: str, sought: str) -> list[str]:
    """What is found on a page and on those that its link "Next page" leads to."""
    found: list[str] = []
    following: str | None = ""
    while following is not None:
        response = await client.get(path + following, headers={"accept": "text/html"})
        assert response.status_code == 200
        found += re.findall(sought, response.text)
        links = re.findall(r'<a rel="next" href="([^"]+)"', response.text)
        assert len(links) <= 1
        following = html.unescape(links[0]) if links else None
    return found


async def test_every_milestone_that_waits_can_be_reached(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approvals, "PER_PAGE", 2)
    boss = await world.person("Boss")
    logins = [f"P{n}" for n in range(3)]
    await world.people(logins, manager=boss)
    cohort = await world.cohort(await world.office())
    for login in logins:
        enrolment = (await ok(world.client(login).post(API, json={"cohort_id": cohort}), 201))["id"]
        await ok(world.client("Boss").post(f"{API}/{enrolment}/approve"))
        for key in ("working_group", "first_meeting"):
            await ok(world.client(login).post(f"{API}/{enrolment}/milestones/{key}/reach"))
    await world.pool.execute("update enrolment_milestones set changed_at = now()")  # an import's, say: all at once
    waiting = await walk(world.client("Boss"), "/enrolment/approvals", r"/approvals/([^/]+/milestones/[^/]+)/attest")
    assert (len(waiting), len(set(waiting))) == (6, 6)


async def test_requests_and_milestones_are_paged_each_by_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approvals, "PER_PAGE", 1)
    boss = await world.person("Boss")
    await world.people(["A", "B", "C", "D"], manager=boss)
    cohort = await world.cohort(await world.office())
    for login in "ABCD":
        enrolment = (await ok(world.client(login).post(API, json={"cohort_id": cohort}), 201))["id"]
        if login in "AB":
            await ok(world.client("Boss").post(f"{API}/{enrolment}/approve"))
            await ok(world.client(login).post(f"{API}/{enrolment}/milestones/first_meeting/reach"))
    seen = await world.client("Boss").get("/enrolment/approvals")
    of_requests, of_milestones = (html.unescape(link) for link in re.findall(r'rel="next" href="\?([^"]+)"', seen.text))
    both = await page(world.client("Boss"), f"/enrolment/approvals?{of_requests}&{of_milestones}")
    assert [login for login in "ABCD" if f"{login} Test" in both] == ["B", "D"]


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "yesterday", ""])
async def test_a_time_that_is_none_is_no_place_in_a_list(world: World, when: str) -> None:
    await world.person("Boss")
    cursor = encode_cursor(when, new_id(), "first_meeting")
    response = await world.client("Boss").get("/enrolment/approvals", params={"attest": cursor})
    assert response.status_code == 400


async def test_every_open_cohort_can_be_reached(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolments, "PER_PAGE", 2)
    anna, _, office = await team(world)
    first = await world.cohort(office)
    programme = (await ok(office.get(f"/enrolment/v1/cohorts/{first}")))["programme_id"]
    days = ["2026-03-02", "2026-02-02", "2026-03-02", "2026-04-01"]
    later = [await world.cohort_of(office, programme, starts_on=day) for day in days]
    offered = await walk(anna, "/enrolment/me", r'name="cohort_id" value="([^"]+)"')
    assert offered == [later[1], first, later[0], later[2], later[3]]


async def test_no_other_cohort_is_offered_of_a_programme_one_takes_part_in(world: World) -> None:
    anna, boss, office = await team(world)
    spring = await world.cohort(office)
    programme = (await ok(office.get(f"/enrolment/v1/cohorts/{spring}")))["programme_id"]
    await world.cohort_of(office, programme, name="Autumn")
    assert "Autumn" in await page(anna, "/enrolment/me")
    await press(anna, "/enrolment/me/ask", cohort_id=spring)
    assert "Autumn" not in await page(anna, "/enrolment/me")
    assert "Autumn" in await page(boss, "/enrolment/me")


async def test_the_pages_speak_swedish_to_who_reads_swedish(world: World) -> None:
    anna, boss, office = await team(world)
    await world.pool.execute("update people set locale = 'sv-SE'")
    cohort = await world.cohort(office, capacity=1)
    assert "Mitt medledarskap" in await page(anna, "/enrolment/me")
    assert "Att leda möten" in await page(anna, "/enrolment/me")
    await press(anna, "/enrolment/me/ask", cohort_id=cohort)
    assert "Godkänn" in await page(boss, "/enrolment/approvals")
    assert "Program och kursomgångar" in await page(office, "/enrolment/programmes")
    assert "Väntar på svar" in await page(office, f"/enrolment/cohorts/{cohort}")


async def test_a_form_sent_twice_changes_once_and_says_how_things_stand(world: World) -> None:
    anna, boss, office = await team(world)
    cohort = await world.cohort(office)
    await press(anna, "/enrolment/me/ask", cohort_id=cohort)
    assert "You already have an enrolment" in words(await press(anna, "/enrolment/me/ask", cohort_id=cohort))
    [enrolment] = (await ok(anna.get(API, params={"mine": True})))["items"]
    await press(boss, f"/enrolment/approvals/{enrolment['id']}/approve")
    again = await press(boss, f"/enrolment/approvals/{enrolment['id']}/approve")
    assert "has changed since the page was shown" in words(again)
    reach = f"/enrolment/me/{enrolment['id']}/milestones/first_meeting/reach"
    await press(anna, reach)
    assert "The milestone has changed" in words(await press(anna, reach))
    assert len(await world.events(EnrolmentApproved)) == len(await world.events(MilestoneReached)) == 1


async def test_the_waiting_list_is_said_to_manager_and_co_leader(world: World) -> None:
    anna, boss, office = await team(world)
    cohort = await world.cohort(office, capacity=1)
    await world.person("Bo")
    first = await ok(world.client("Bo").post(API, json={"cohort_id": cohort}), 201)
    await ok(office.post(f"{API}/{first['id']}/approve"))
    assert "Ask for a place on the waiting list" in await page(anna, "/enrolment/me")
    await press(anna, "/enrolment/me/ask", cohort_id=cohort)
    [enrolment] = (await ok(anna.get(API, params={"mine": True})))["items"]
    answered = words(await press(boss, f"/enrolment/approvals/{enrolment['id']}/approve"))
    assert "number 1 on the waiting list" in answered
    assert "You are number 1 on the waiting list" in await page(anna, "/enrolment/me")


async def test_the_office_takes_a_cohort_through_its_steps(world: World) -> None:
    _, _, office = await team(world)
    cohort = f"/enrolment/cohorts/{await world.cohort(office)}"
    assert "Nobody has asked for a place yet" in await page(office, cohort)
    assert "The cohort has been changed" in words(await press(office, f"{cohort}/start"))
    assert "Running" in await page(office, cohort)
    assert "of 7 places taken" in words(await press(office, f"{cohort}/capacity", capacity="7"))
    assert "Closed" in words(await press(office, f"{cohort}/close"))
    assert "The cohort has changed" in words(await press(office, f"{cohort}/start"))


async def test_who_may_not_see_a_page_is_told_so_plainly(world: World) -> None:
    anna, boss, office = await team(world)
    cohort = await world.cohort(office)
    assert "You do not have access" in await page(anna, f"/enrolment/cohorts/{cohort}", 403)
    await press(anna, "/enrolment/me/ask", cohort_id=cohort)
    [enrolment] = (await ok(anna.get(API, params={"mine": True})))["items"]
    for what in ("withdraw", "milestones/first_meeting/reach"):
        assert "You do not have access" in await page(boss, f"/enrolment/me/{enrolment['id']}/{what}", 403)
    assert "Page not found" in await page(anna, f"/enrolment/me/{new_id()}/withdraw", 404)
    assert "You may not do that" in words(await press(anna, f"/enrolment/approvals/{enrolment['id']}/approve"))


async def test_a_visitor_is_sent_to_sign_in_and_the_front_leads_to_ones_own(world: World) -> None:
    stranger = world.client("stranger")
    stranger.cookies.clear()
    response = await stranger.get("/enrolment/me", headers={"accept": "text/html"})
    assert (response.status_code, response.headers["location"]) == (303, "/login?next=%2Fenrolment%2Fme")
    assert (await stranger.get("/enrolment/")).headers["location"] == "/enrolment/me"


@pytest.mark.parametrize("path", ["/enrolment/me/ask", "/enrolment/approvals/{}/approve"])
async def test_a_form_from_another_site_changes_nothing(world: World, path: str) -> None:
    anna, _, office = await team(world)
    cohort = await world.cohort(office)
    response = await anna.post(
        path.format(new_id()), data={"cohort_id": cohort}, headers={"sec-fetch-site": "cross-site"}
    )
    assert response.status_code == 403
    assert await world.pool.fetchval("select count(*) from enrolments") == 0


async def test_an_unknown_outcome_in_the_address_is_not_shown(world: World) -> None:
    anna, _, _ = await team(world)
    seen = await page(anna, "/enrolment/me?refused=%3Cscript%3E&done=nonsense")
    assert "script" not in seen
    assert "nonsense" not in seen


async def test_an_address_that_leads_nowhere_keeps_the_readers_way_around(world: World) -> None:
    anna, _, _ = await team(world)
    lost = await anna.get("/enrolment/nowhere", headers={"accept": "text/html"})
    assert (lost.status_code, "Page not found" in lost.text) == (404, True)
    assert 'href="/enrolment/"' in lost.text
    assert "Anna Test" in lost.text
    assert "aria-current" not in lost.text, "no place is the one the reader is at"
    assert 'aria-current="page"' in (await anna.get("/enrolment/me", headers={"accept": "text/html"})).text
    async with httpx.AsyncClient(transport=anna._transport, base_url=anna.base_url) as visitor:
        lost = await visitor.get("/enrolment/nowhere", headers={"accept": "text/html"})
    assert (lost.status_code, 'href="/enrolment/"' in lost.text) == (404, False)
