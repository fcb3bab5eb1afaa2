"""HR brings a file in, in a real browser: the whole way, in both languages, and without JavaScript."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from playwright.async_api import Browser, Page, expect

from services.enrolment.imports.actions import IMPORT
from services.enrolment.imports.handlers import run_imports
from shared.events.vocabulary import Role
from shared.security.session import COOKIE
from shared.timers import Timers
from tests.enrolment.world import World
from tests.support.browser import is_usable
from tests.support.serving import on_a_port

pytestmark = pytest.mark.browser
FILE = "Nr;Förnamn;Efternamn;Enhet;Chef\n1;Åsa;Berg;Vård - Hem;\n2;Bo;Ek;Vård;1\n3;Eva\n".encode("cp1252")


@dataclass(frozen=True)
class Said:
    """What stands on the pages in one language."""

    language: str
    empty: str
    file: str
    source: str
    look: str
    nobody_yet: str
    number: str
    again: str
    joins: str
    real: str
    holds: str
    reload: str


SWEDISH = Said(
    "sv", "Inget har lästs in än.", "Export från HR-systemet", "Källa", "Se vad som skulle ändras", "saknas:",
    "Anställningsnummer", "Titta igen med de här valen", "2 personer tillkommer", "Läs in på riktigt",
    "Filen är inläst.", "Uppdatera",
)  # fmt: skip
ENGLISH = Said(
    "en", "Nothing has been imported yet.", "Export from the HR platform", "Source", "See what would change",
    "are missing:", "Employee id", "Look again with these choices", "2 people join", "Import for real",
    "The file has been imported.", "Refresh",
)  # fmt: skip


@contextlib.asynccontextmanager
async def working(world: World) -> AsyncIterator[None]:
    """A worker beside, as in production; slow enough for progress to be seen."""

    async def work() -> None:
        while True:
            await asyncio.sleep(0.5)
            await Timers(world.pool, world.app.state.clock, {IMPORT: run_imports(world.pool)}).tick()

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ended(page: Page, said: Said, *, live: bool) -> None:
    """The report has come: by itself, or by reloading where there is no JavaScript."""
    reload = page.get_by_role("link", name=said.reload, exact=True)
    while not live and await reload.count():
        await page.wait_for_timeout(200)
        await reload.click()
    await expect(reload).to_have_count(0, timeout=20_000)


@pytest.mark.parametrize(("said", "live"), [(SWEDISH, True), (ENGLISH, False)], ids=["Swedish", "English without JS"])
async def test_hr_sends_a_file_chooses_columns_sees_what_would_change_and_imports_it(
    browser: Browser, world: World, said: Said, live: bool
) -> None:
    await world.grant(await world.person("hr-person"), Role.hr_integration)
    await world.pool.execute("update people set locale = $1", said.language)
    session = str(world.client("hr-person").cookies[COOKIE])
    async with on_a_port(world.app) as origin, working(world):
        context = await browser.new_context(java_script_enabled=live, locale=said.language)
        await context.add_cookies([{"name": COOKIE, "value": session, "url": origin}])
        page = await context.new_page()
        await page.goto(f"{origin}/enrolment/imports")
        await expect(page.get_by_role("heading", name=said.empty)).to_be_visible()
        await page.locator(".empty a.button").click()
        if live:
            await is_usable(page)
        await page.get_by_label(said.file).set_input_files(
            {"name": "people.csv", "mimeType": "text/csv", "buffer": FILE}
        )
        await page.get_by_label(said.source).fill("heroma")
        await page.get_by_role("button", name=said.look).click()

        await ended(page, said, live=live)
        await expect(page.locator(".notice-attention")).to_contain_text(said.nobody_yet)
        if live:
            await is_usable(page)
        await page.get_by_label(said.number, exact=True).select_option(label="Nr (1, 2)")
        await page.get_by_role("button", name=said.again).click()

        await ended(page, said, live=live)
        await expect(page.get_by_text(said.joins)).to_be_visible()
        if live:
            await is_usable(page)
        await page.get_by_role("button", name=said.real).click()

        await ended(page, said, live=live)
        await expect(page.get_by_text(said.holds)).to_be_visible()
        if live:
            await is_usable(page)
        await page.goto(f"{origin}/enrolment/people?q=åsa")
        if live:
            await is_usable(page)
        await page.get_by_role("link", name="Åsa Berg").click()
        await expect(page.get_by_role("link", name="people.csv").first).to_be_visible()
        if live:
            await is_usable(page)
        await context.close()
        people = await world.pool.fetch("select given_name, family_name from people where source = 'heroma' order by 1")
    assert [tuple(row) for row in people] == [("Bo", "Ek"), ("Åsa", "Berg")]
