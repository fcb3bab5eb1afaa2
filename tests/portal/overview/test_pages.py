"""The overview is whole without a script, and says what to do while nothing has happened."""

import re
from collections.abc import AsyncIterator

import pytest

from services.portal.settings import PortalSettings
from shared.events import EnrolmentActivated, EnrolmentApproved, EnrolmentRequested, PersonProvisioned
from shared.events.codes import code_sets
from shared.ids import new_id
from shared.postgres.pool import Pool
from tests.portal.conftest import Take
from tests.portal.facts import TRACE_ID, Organisation
from tests.portal.serving import Portal, portal_on_a_port

HTML = {"accept": "text/html"}


@pytest.fixture
async def portal(settings: PortalSettings, pool: Pool) -> AsyncIterator[Portal]:
    async with portal_on_a_port(settings, pool) as portal:
        yield portal


async def test_a_visitor_is_sent_to_sign_in_and_back(portal: Portal) -> None:
    async with portal.browser() as client:
        answer = await client.get("/?lang=en", headers=HTML)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2F%3Flang%3Den")


async def test_people_begin_with_their_own_and_find_the_organisation_in_the_navigation(portal: Portal) -> None:
    async with portal.browser("anna") as client:
        front = await client.get("/", headers=HTML)
        assert (front.status_code, front.headers["location"]) == (307, "/enrolment/")
        page = (await client.get("/organisation", headers=HTML)).text
        assert '<a href="/organisation" aria-current="page">Organisationen</a>' in page
        unit = await client.get("/?unit=0198c0de-0000-7000-8000-000000000001", headers=HTML)
    assert unit.headers["location"] == "/organisation?unit=0198c0de-0000-7000-8000-000000000001"


async def test_the_page_shows_figures_and_events_as_of_one_position(portal: Portal, take: Take) -> None:
    organisation = Organisation()
    organisation.catalogue()
    for _ in range(3):
        organisation.enrolment(EnrolmentRequested, EnrolmentApproved, EnrolmentActivated)
    await take(organisation.told)
    async with portal.browser("anna") as client:
        page = (await client.get("/organisation", headers=HTML)).text
    assert re.search(r'data-figure="enrolments.active">3<', page)
    assert f'data-position="{len(organisation.told)}"' in page
    assert "En person blev medledare i Spring 2026" in page
    assert TRACE_ID in page
    assert "Här börjar det" not in page


async def test_the_same_again_is_one_row_with_a_count(portal: Portal, take: Take) -> None:
    organisation = Organisation()
    for _ in range(12):
        organisation.tell(PersonProvisioned(person_id=new_id(), unit_id=organisation.unit))
    await take(organisation.told)
    async with portal.browser("anna") as client:
        page = (await client.get("/organisation?lang=en", headers=HTML)).text
    assert page.count("A person was added in a unit") == 2  # once to compare with, once to read
    assert "× 12" in page


async def test_an_empty_portal_says_what_to_do_next(portal: Portal) -> None:
    async with portal.browser("anna") as client:
        page = (await client.get("/organisation", headers=HTML)).text
    assert "Här börjar det" in page
    assert "medled hr import" in page


async def test_nothing_on_the_page_runs_or_styles_inline(portal: Portal, take: Take) -> None:
    organisation = Organisation()
    organisation.catalogue()
    await take(organisation.told)
    async with portal.browser("anna") as client:
        answer = await client.get("/organisation", headers=HTML)
        scripts = re.findall(r"<script[^>]*>([^<]*)", answer.text)
        assert scripts == [""]
        assert not re.search(r"\sstyle=|<style|\son\w+=", answer.text)
        for address in re.findall(r'(?:src|href)="(/(?:portal/)?static/[^"]+)"', answer.text):
            assert (await client.get(address)).status_code == 200
    assert "script-src" not in answer.headers["content-security-policy"]
    assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/asyncapi.json", "/asyncapi", "/codes", "/problems/position-too-old", "/problems/anything-else"]
)
async def test_the_contract_and_the_problems_are_described_for_everybody(portal: Portal, path: str) -> None:
    async with portal.browser() as client:
        assert (await client.get(path, headers=HTML)).status_code == 200


@pytest.mark.parametrize(("language", "words"), [
    ("sv", "Den gick inte att behandla, tre gånger."), ("en", "It could not be handled, three times."),
])  # fmt: skip
async def test_what_codes_mean_stands_on_a_page_in_both_languages(portal: Portal, language: str, words: str) -> None:
    async with portal.browser() as client:
        page = (await client.get(f"/codes?lang={language}", headers=HTML)).text
    assert words in page
    assert all(f"<code>{code}</code>" in page for codes in code_sets().values() for code in codes)


async def test_a_schema_is_served_under_its_type_and_made_up_addresses_are_not(portal: Portal) -> None:
    async with portal.browser() as client:
        schema = await client.get("/schemas/medled.round.opened.v1.json")
        assert schema.json()["properties"]["round_id"]
        assert (await client.get("/schemas/medled.round.exploded.v1.json")).status_code == 404
        assert (await client.get("/problems/Not%20a%20slug")).status_code == 404
