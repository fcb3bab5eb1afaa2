"""The overview in a real browser: live, honest about its connection, usable by everybody."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from playwright.async_api import Browser, Page, expect

from deploy.embedded.process import free_port
from services.portal.settings import PortalSettings
from shared.events import EnrolmentRequested
from shared.postgres.pool import Pool
from tests.portal.conftest import Take
from tests.portal.facts import Organisation
from tests.portal.serving import Portal, portal_on_a_port
from tests.support.browser import is_usable

pytestmark = pytest.mark.browser

CONNECTION = "[data-connection]"


@asynccontextmanager
async def overview(browser: Browser, portal: Portal, **options: object) -> AsyncIterator[Page]:
    """The page, signed in; any complaint of the browser fails the test."""
    context = await browser.new_context(locale="sv-SE", **options)  # type: ignore[arg-type]
    async with portal.browser("anna") as client:
        [cookie] = client.cookies.jar
        await context.add_cookies([{"name": cookie.name, "value": str(cookie.value), "url": portal.origin}])
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if "Security" in message.text else None)
    await page.goto(f"{portal.origin}/organisation")
    yield page
    assert complaints == []
    await context.close()


async def one_request(take: Take) -> None:
    organisation = Organisation()
    organisation.enrolment(EnrolmentRequested)
    await take(organisation.told)


async def test_what_happens_appears_without_reloading(
    browser: Browser, settings: PortalSettings, pool: Pool, take: Take
) -> None:
    async with portal_on_a_port(settings, pool) as portal, overview(browser, portal) as page:
        await expect(page.locator(CONNECTION)).to_have_text("Direkt")
        await expect(page.get_by_text("Här börjar det")).to_be_visible()
        await one_request(take)
        await one_request(take)
        await expect(page.locator('[data-figure="enrolments.requested"]')).to_have_text("2")
        await expect(page.get_by_text("Här börjar det")).to_be_hidden()
        await expect(page.locator("[data-events] li")).to_have_count(1)
        await expect(page.locator("[data-events] li [data-count]")).to_have_text("× 2")


@pytest.mark.parametrize(("language", "words"), [("sv", "1 mars 2026 23:30"), ("en", "1 March 2026 23:30")])
async def test_events_have_the_readers_date_and_time_whether_the_server_or_the_script_writes_them(
    browser: Browser, settings: PortalSettings, pool: Pool, take: Take, language: str, words: str
) -> None:
    async with (
        portal_on_a_port(settings, pool) as portal,
        overview(browser, portal, timezone_id="Asia/Tokyo") as page,
    ):
        await page.goto(f"{portal.origin}/organisation?lang={language}")
        await expect(page.locator(CONNECTION)).to_have_attribute("data-connection", "live")
        organisation = Organisation()
        organisation.enrolment(EnrolmentRequested)
        await take([replace(fact, time=datetime(2026, 3, 1, 22, 30, tzinfo=UTC)) for fact in organisation.told])
        await expect(page.locator("[data-events] time")).to_have_text(words)
        await page.reload()
        await expect(page.locator(CONNECTION)).to_have_attribute("data-connection", "live")
        await expect(page.locator("[data-events] time")).to_have_text(words)


async def test_a_page_survives_a_restart_of_the_portal_and_misses_nothing(
    browser: Browser, settings: PortalSettings, pool: Pool, take: Take
) -> None:
    port = free_port()
    await one_request(take)
    async with portal_on_a_port(settings, pool, port) as portal:
        pages = overview(browser, portal)
        page = await pages.__aenter__()
        await expect(page.locator(CONNECTION)).to_have_text("Direkt")
        await page.evaluate("window.sameDocument = true")
        portal.stop_streams()
    await expect(page.locator(CONNECTION)).to_have_text("Återansluter …")
    await one_request(take)
    async with portal_on_a_port(settings, pool, port):
        await expect(page.locator(CONNECTION)).to_have_text("Direkt", timeout=15_000)
        await expect(page.locator("[data-events] li [data-count]")).to_have_text("× 2")
        assert await page.evaluate("window.sameDocument")
        await pages.__aexit__(None, None, None)


async def test_the_list_can_be_held_still_while_somebody_reads(
    browser: Browser, settings: PortalSettings, pool: Pool, take: Take
) -> None:
    await one_request(take)
    async with portal_on_a_port(settings, pool) as portal, overview(browser, portal) as page:
        await expect(page.locator(CONNECTION)).to_have_text("Direkt")
        await page.get_by_role("button", name="Pausa listan").click()
        await one_request(take)
        resume = page.get_by_role("button", name="Fortsätt (1 nya väntar)")
        await expect(resume).to_be_visible()
        await expect(page.locator("[data-events] li [data-count]")).to_be_hidden()
        await resume.click()
        await expect(page.locator("[data-events] li [data-count]")).to_have_text("× 2")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_use_the_page(
    browser: Browser, settings: PortalSettings, pool: Pool, take: Take, scheme: str
) -> None:
    await one_request(take)
    async with (
        portal_on_a_port(settings, pool) as portal,
        overview(browser, portal, color_scheme=scheme, reduced_motion="reduce") as page,
    ):
        await expect(page.locator(CONNECTION)).to_have_text("Direkt")
        assert await page.evaluate("document.getAnimations().length") == 0
        await is_usable(page)


async def test_everybody_can_use_what_the_portal_tells_strangers(
    browser: Browser, settings: PortalSettings, pool: Pool
) -> None:
    async with portal_on_a_port(settings, pool) as portal:
        page = await browser.new_page(color_scheme="dark")
        for path in ("/asyncapi", "/codes", "/problems/position-too-old", "/logout"):
            await page.goto(portal.origin + path)
            await is_usable(page)
