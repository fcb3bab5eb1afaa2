"""The overview in a real browser: live, honest about its connection, usable by everybody."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright, expect

from deploy.embedded.process import free_port
from services.portal.settings import PortalSettings
from shared.db import Pool
from shared.events import EnrolmentRequested
from tests.portal.conftest import Take
from tests.portal.facts import Organisation
from tests.portal.serving import Portal, portal_on_a_port
from tests.support.skipping import skip

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
CONNECTION = "[data-connection]"
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        skip("chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        await browser.close()


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
        assert (await Axe().run(page, options=WCAG)).response["violations"] == []
        assert await page.evaluate("document.getAnimations().length") == 0
        await page.set_viewport_size({"width": 320, "height": 640})
        assert await page.evaluate("document.documentElement.scrollWidth") == 320
