"""The open stream over HTTP: who may read it, from where, and how it says no."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from unittest.mock import ANY

import httpx
import pytest

from services.portal.overview.api import Overview
from services.portal.settings import PortalSettings
from services.portal.stream import access_watch, store
from shared.events import EnrolmentActivated, EnrolmentRequested, NotificationSent
from shared.events.vocabulary import Role
from shared.ids import new_id
from shared.postgres.pool import Pool
from shared.postgres.transaction import transaction
from shared.security.session import COOKIE
from tests.portal.conftest import Take
from tests.portal.facts import NOW, Organisation
from tests.portal.serving import Portal, portal_on_a_port, server_sent
from tests.support.directory import add_machine, add_unit
from tests.support.signing_in import session_of

STREAM, EVENTS, OVERVIEW = "/portal/v1/stream", "/portal/v1/events", "/portal/v1/overview"


@pytest.fixture
async def portal(settings: PortalSettings, pool: Pool) -> AsyncIterator[Portal]:
    async with portal_on_a_port(settings, pool) as portal:
        yield portal


async def happened(take: Take, count: int) -> None:
    organisation = Organisation()
    for _ in range(count):
        organisation.enrolment(EnrolmentRequested)
    await take(organisation.told)


@pytest.mark.parametrize("path", [STREAM, EVENTS, OVERVIEW])
async def test_nobody_reads_without_signing_in(portal: Portal, path: str) -> None:
    async with portal.browser() as client:
        answer = await client.get(path, headers={"accept": "text/event-stream"})
        assert answer.status_code == 401
        assert answer.json()["type"].endswith("/problems/unauthenticated")
        assert (await client.get(path, headers={"authorization": "Bearer mlt_made-up"})).status_code == 401


@pytest.mark.parametrize("path", [STREAM, EVENTS, OVERVIEW])
async def test_a_machine_needs_the_role_of_a_stream_reader(portal: Portal, pool: Pool, path: str) -> None:
    token = await add_machine(pool, "hr", {Role.hr_integration: None})
    async with portal.browser() as client:
        answer = await client.get(path, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 403


async def test_every_figure_is_documented_and_says_what_it_counts(portal: Portal, take: Take) -> None:
    await happened(take, 2)
    async with portal.browser("anna") as client:
        body = (await client.get(OVERVIEW)).json()
        schemas = (await client.get("/portal/openapi.json")).json()["components"]["schemas"]
    assert Overview.model_validate(body).model_dump(mode="json") == body | {"newest_at": ANY}
    for name in ("Overview", *(f"{what}Figures" for what in ("Enrolment", "Milestone", "Round", "Delivery", "Cohort"))):
        assert schemas[name]["description"]
        for field in schemas[name]["properties"].values():
            assert "$ref" in field or field["description"]


async def test_the_stream_goes_on_where_the_last_event_id_stands(portal: Portal, take: Take) -> None:
    await happened(take, 3)
    async with portal.browser("anna") as client:
        async with client.stream("GET", STREAM, params={"after": "0"}, headers={"last-event-id": "1"}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-store"
            first = await server_sent(response, 3)
        assert [event.get("event", "message") for event in first] == ["snapshot", "message", "message"]
        assert [event["id"] for event in first[1:]] == ["2", "3"]
        entry = first[1]["data"]
        assert entry["event"]["specversion"] == "1.0"
        assert entry["event"]["data"]["cohort_id"]
        assert entry["text"]["sv"] == "En person ansökte om en plats i en kursomgång"


async def test_a_unit_bound_machine_gets_its_units_and_those_below_only(portal: Portal, pool: Pool, take: Take) -> None:
    above, elsewhere = await add_unit(pool, "Care"), await add_unit(pool, "School")
    below = await add_unit(pool, "Care North", parent=above)
    organisation = Organisation()
    for unit in (above, below, elsewhere):
        organisation.enrolment(EnrolmentRequested, EnrolmentActivated, unit=unit)
    await take(organisation.told)
    token = await add_machine(pool, "board", {Role.stream_reader: frozenset({above})})
    async with portal.browser() as client:
        client.headers["authorization"] = f"Bearer {token}"
        page = (await client.get(EVENTS)).json()
        assert {item["event"]["unit"] for item in page["items"]} == {str(above), str(below)}
        assert (await client.get(OVERVIEW)).json()["enrolments"]["active"] == 2
        narrowed = (await client.get(EVENTS, params={"unit": str(below)})).json()
        assert {item["event"]["unit"] for item in narrowed["items"]} == {str(below)}
        assert (await client.get(EVENTS, params={"unit": str(elsewhere)})).json()["items"] == []


async def test_a_part_of_the_organisation_is_shown_no_figure_of_the_whole(
    portal: Portal, pool: Pool, take: Take
) -> None:
    mine = await add_unit(pool, "Care")
    here, elsewhere = Organisation(unit=mine), Organisation(unit=await add_unit(pool, "School"))
    for organisation in (here, elsewhere):
        organisation.catalogue()
        organisation.enrolment(EnrolmentRequested)
        organisation.delivery(NotificationSent)
    await take(here.told + elsewhere.told)
    token = await add_machine(pool, "board", {Role.stream_reader: frozenset({mine})})
    async with portal.browser("anna") as client:
        asked = {"unit": str(mine)}, {"programme": str(here.programme)}
        parts = [(await client.get(OVERVIEW, params=params)).json() for params in asked]
        page = (await client.get("/organisation", params=asked[0])).text
        whole, whole_page = (await client.get(OVERVIEW)).json(), (await client.get("/organisation")).text
        client.cookies.clear()
        client.headers["authorization"] = f"Bearer {token}"
        parts.append((await client.get(OVERVIEW)).json())
        async with client.stream("GET", STREAM) as response:
            parts += [event["data"] for event in await server_sent(response, 1)]
    for part in parts:
        assert (part["deliveries"], part["cohorts"]["open"], part["programmes"]) == (None, 1, 1)
    assert (whole["deliveries"]["sent"], whole["cohorts"]["open"], whole["programmes"]) == (2, 2, 2)
    assert ("deliveries-title" in page, "deliveries-title" in whole_page) == (False, True)


async def test_events_are_asked_for_by_their_whole_name_or_the_short_one(portal: Portal, take: Take) -> None:
    organisation = Organisation()
    organisation.enrolment(EnrolmentRequested, EnrolmentActivated)
    await take(organisation.told)
    async with portal.browser("anna") as client:
        for name in ("enrolment.activated", EnrolmentActivated.type):
            page = (await client.get(EVENTS, params={"type": name})).json()
            assert [item["event"]["type"] for item in page["items"]] == [EnrolmentActivated.type]
        assert (await client.get(EVENTS, params={"type": "enrolment.approvd"})).status_code == 422


async def test_pages_follow_each_other_without_a_hole(portal: Portal, take: Take) -> None:
    await happened(take, 7)
    async with portal.browser("anna") as client:
        seen, after = [], 0
        while True:
            page = (await client.get(EVENTS, params={"after": after, "limit": 3})).json()
            if not page["items"]:
                break
            seen += [item["position"] for item in page["items"]]
            after = page["next"]
        assert seen == [1, 2, 3, 4, 5, 6, 7]
        assert after == 7


async def test_a_page_from_before_the_window_is_gone_and_says_where_to_go_on(
    portal: Portal, pool: Pool, take: Take
) -> None:
    await happened(take, 5)
    async with transaction(pool) as conn:
        await store.prune(conn, NOW.replace(year=2027), limit=3)
    async with portal.browser("anna") as client:
        answer = await client.get(EVENTS, params={"after": 1})
        assert answer.status_code == 410
        assert answer.json()["type"].endswith("/problems/position-too-old")
        assert "after=3" in answer.json()["remedy"]


@pytest.mark.parametrize(
    ("params", "headers", "field"),
    [
        ({"type": "medled.unheard.of.v1"}, {}, "type"),
        ({"type": "medled.invitation.issued.v1"}, {}, "type"),
        ({"unit": "north"}, {}, "unit"),
        ({"after": "-1"}, {}, "after"),
        ({"after": str(2**63)}, {}, "after"),
        ({}, {"last-event-id": "12; drop"}, "Last-Event-ID"),
    ],
)
async def test_what_cannot_be_read_is_refused_with_the_field_at_fault(
    portal: Portal, params: dict[str, str], headers: dict[str, str], field: str
) -> None:
    async with portal.browser("anna") as client:
        answer = await client.get(STREAM, params=params, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == field


async def test_a_full_process_sends_readers_elsewhere(settings: PortalSettings, pool: Pool) -> None:
    small = settings.model_copy(update={"stream_readers": 1})
    async with (
        portal_on_a_port(small, pool) as portal,
        portal.browser("anna") as client,
        client.stream("GET", STREAM) as response,
    ):
        lines = response.aiter_lines()  # as long as it is held, the first reader stays
        await anext(lines)
        refused = await client.get(STREAM)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0


async def test_an_unknown_unit_shows_nothing_rather_than_everything(portal: Portal, take: Take) -> None:
    await happened(take, 2)
    async with portal.browser("anna") as client:
        assert (await client.get(EVENTS, params={"unit": str(new_id())})).json()["items"] == []


def _withdrawn(pool: Pool) -> Awaitable[object]:
    return pool.execute("delete from access")


def _expired(pool: Pool) -> Awaitable[object]:
    return pool.execute("update access set expires_at = now() - interval '1 second'")


def _given_another_unit(pool: Pool) -> Awaitable[object]:
    return pool.execute("update access set roles = jsonb_build_object('stream_reader', array[gen_random_uuid()])")


@pytest.mark.parametrize("lost", [_withdrawn, _expired, _given_another_unit])
async def test_a_machines_open_stream_ends_with_its_token(
    portal: Portal, pool: Pool, lost: Callable[[Pool], Awaitable[object]]
) -> None:
    ending = {"authorization": f"Bearer {await add_machine(pool, 'gone', {Role.stream_reader: None})}"}
    async with portal.browser() as client, client.stream("GET", STREAM, headers=ending) as response:
        await lost(pool)
        staying = {"authorization": f"Bearer {await add_machine(pool, 'stays', {Role.stream_reader: None})}"}
        async with client.stream("GET", STREAM, headers=staying):
            assert await _goodbye(response) == "access_ended"
            assert len(portal.app.state.live.slots) == 1


async def test_a_persons_open_stream_ends_when_they_sign_out_and_another_of_theirs_does_not(portal: Portal) -> None:
    async with portal.browser("anna") as client, portal.browser() as elsewhere:
        elsewhere.cookies.set(COOKIE, session_of(portal.settings, "anna"), domain="127.0.0.1")
        async with client.stream("GET", STREAM) as response, elsewhere.stream("GET", STREAM):
            signed_out = await client.post("/logout", headers={"sec-fetch-site": "same-origin"})
            assert signed_out.status_code == 303
            assert await _goodbye(response) == "access_ended"
            assert len(portal.app.state.live.slots) == 1


async def test_a_persons_open_stream_ends_when_they_leave(portal: Portal, pool: Pool) -> None:
    async with portal.browser("anna") as client, client.stream("GET", STREAM) as response:
        await pool.execute("update people set status = 'inactive'")
        assert await _goodbye(response) == "access_ended"


async def test_one_look_that_fails_leaves_no_stream_open_for_ever(
    portal: Portal, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_watch, "_CHECK_SECONDS", 0.05)
    ending = {"authorization": f"Bearer {await add_machine(pool, 'gone', {Role.stream_reader: None})}"}
    async with portal.browser() as client, client.stream("GET", STREAM, headers=ending) as response:
        await pool.execute("alter table access rename to elsewhere")
        await asyncio.sleep(0.5)
        await pool.execute("alter table elsewhere rename to access")
        await _withdrawn(pool)
        assert await _goodbye(response) == "access_ended"


async def test_one_poll_that_fails_silences_no_stream(portal: Portal, pool: Pool, take: Take) -> None:
    async with portal.browser("anna") as client, client.stream("GET", STREAM) as response:
        async with asyncio.timeout(10):
            while not len(portal.app.state.live.broadcaster):
                await asyncio.sleep(0.05)
        await pool.execute("alter view stream_entries rename to elsewhere")
        await asyncio.sleep(0.5)
        await pool.execute("alter view elsewhere rename to stream_entries")
        await happened(take, 1)
        heard = [each["data"]["event"]["type"] for each in await server_sent(response, 3) if "event" not in each]
        assert heard == [EnrolmentRequested.type]


async def _goodbye(response: httpx.Response) -> str:
    """Why the stream says that it ends, having ended."""
    last = (await server_sent(response, 1000))[-1]
    assert last["event"] == "resume"
    reason: str = last["data"]["reason"]
    return reason


async def test_a_head_opens_no_stream_and_takes_no_place(portal: Portal) -> None:
    async with portal.browser("anna") as client:
        head = await client.head(STREAM)
        assert (head.status_code, head.headers["content-type"][:17]) == (200, "text/event-stream")
        assert (await client.head(STREAM, params={"type": "no.such"})).status_code == 422
        assert len(portal.app.state.live.slots) == len(portal.app.state.live.broadcaster) == 0
    async with portal.browser() as nobody:
        assert (await nobody.head(STREAM)).status_code == 401
