"""Enrolment's pages in a real browser: usable by everybody, and the menu says how much waits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, expect

from services.enrolment.imports.actions import IMPORT
from services.enrolment.imports.handlers import run_imports
from shared.security.session import COOKIE
from shared.timers import Timers
from tests.enrolment.world import World, ok
from tests.support.browser import is_accessible, is_usable
from tests.support.serving import on_a_port

pytestmark = pytest.mark.browser
API = "/enrolment/v1/enrolments"
IMPORTS = "/enrolment/v1/imports"
CSV = "Employee ID,First Name,Last Name,Unit,Konto\n1,Anna,Berg,Care - Home,annber\n2,Bo,Ek,Care,boek\n3,Eva\n"


@asynccontextmanager
async def signed_in(browser: Browser, origin: str, world: World, login: str, scheme: str) -> AsyncIterator[Page]:
    context = await browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]  # one of its literals
    session = str(world.client(login).cookies[COOKIE])
    await context.add_cookies([{"name": COOKIE, "value": session, "url": origin}])
    yield await context.new_page()
    await context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_use_the_pages_and_sees_what_waits(browser: Browser, world: World, scheme: str) -> None:
    office = await world.office("officer-with-a-rather-long-name")
    boss = await world.person("boss")
    await world.people(["anna", "bo"], manager=boss)
    cohort = await world.cohort(office)
    for login in ("anna", "bo"):
        asked = await ok(world.client(login).post(API, json={"cohort_id": cohort}), 201)
        if login == "anna":
            enrolment = asked["id"]
            await ok(world.client("boss").post(f"{API}/{enrolment}/approve"))
    imports = []
    for dry_run in ("true", "false"):
        imports.append(
            (
                await ok(
                    office.post(
                        IMPORTS,
                        files={"file": ("a-file-with-a-rather-long-name.csv", CSV)},
                        data={"source": "other", "dry_run": dry_run},
                    ),
                    202,
                )
            )["id"]
        )
        if dry_run == "true":
            await Timers(world.pool, world.app.state.clock, {IMPORT: run_imports(world.pool)}).tick()
    reach = f"/enrolment/me/{enrolment}/milestones/first_meeting/reach"
    async with on_a_port(world.app) as origin:
        async with signed_in(browser, origin, world, "anna", scheme) as page:
            for path in ("/enrolment/me", reach, f"/enrolment/me/{enrolment}/withdraw"):
                await page.goto(origin + path)
                await is_usable(page)
            await page.goto(origin + reach)
            await page.get_by_role("button", name="Yes, I have reached it").click()
            await expect(page.get_by_role("button", name="Undo")).to_be_visible()
            await is_usable(page)
        async with signed_in(browser, origin, world, "boss", scheme) as page:
            for path in ("/enrolment/me", "/enrolment/approvals"):
                await page.goto(origin + path)
                await is_usable(page)
            await page.set_viewport_size({"width": 320, "height": 640})
            await expect(page.get_by_role("button", name="Menu 2 waiting for you")).to_be_visible()
            await page.get_by_role("button", name="Menu").click()
            await expect(page.get_by_role("link", name="To approve 2 waiting for you")).to_be_visible()
            await is_accessible(page)
            await page.set_viewport_size({"width": 1280, "height": 800})
            await expect(page.get_by_role("button", name="Menu")).to_be_hidden()
            await expect(page.get_by_role("link", name="To approve 2 waiting for you")).to_be_visible()
        async with signed_in(browser, origin, world, "officer-with-a-rather-long-name", scheme) as page:
            for path in ("/enrolment/programmes", f"/enrolment/cohorts/{cohort}", f"/enrolment/cohorts/{cohort}/close"):
                await page.goto(origin + path)
                await is_usable(page)
            for path in ("", *(f"/{each}" for each in imports), f"/{imports[1]}/cancel"):
                await page.goto(f"{origin}/enrolment/imports{path}")
                await is_usable(page)
            await expect(page.get_by_role("link", name="Imports")).to_be_visible()
