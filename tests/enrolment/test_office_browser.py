"""The programme office begins from nothing in a real browser, in both languages, and needs no script for it."""

import pytest
from playwright.async_api import Browser, Page, expect

from services.enrolment.service import SERVICE
from shared.security.session import COOKIE
from shared.web.texts import Texts
from tests.enrolment.world import World, ok
from tests.support.browser import is_accessible, is_usable
from tests.support.serving import on_a_port

pytestmark = pytest.mark.browser
TEXTS = Texts.load(path for folder in SERVICE.page_folders if (path := folder / "texts.toml").is_file())


@pytest.mark.parametrize(("language", "with_scripts"), [("sv", True), ("en", True), ("sv", False)])
async def test_an_office_goes_from_nothing_to_an_open_cohort(
    browser: Browser, world: World, language: str, with_scripts: bool
) -> None:
    office = await world.office()

    def word(key: str, **values: object) -> str:
        return TEXTS.get(key, language, **values)

    async with on_a_port(world.app) as origin:
        context = await browser.new_context(java_script_enabled=with_scripts)
        await context.add_cookies([{"name": COOKIE, "value": str(office.cookies[COOKIE]), "url": origin}])
        page = await context.new_page()

        async def check(page: Page) -> None:
            if with_scripts:  # which the checker itself needs
                await (is_usable if language == "sv" else is_accessible)(page)

        await page.goto(f"{origin}/enrolment/programmes?lang={language}")
        await check(page)
        await page.get_by_role("link", name=word("programmes.start_from")).click()
        await page.get_by_role("button", name=word("plan.add")).click()
        await expect(page.locator('[id="milestones.9.title.sv"]')).to_be_focused()
        await page.get_by_role("button", name=word("plan.keep")).last.click()
        await expect(page.get_by_role("alert")).to_be_focused()
        await check(page)
        await page.get_by_role("link", name=word("plan.wrong.practices", nth=10)).click()
        await page.locator('button[value="remove.9"]').click()
        await page.get_by_role("button", name=word("plan.keep")).last.click()
        await check(page)
        await page.get_by_role("link", name=word("programme.publish")).click()
        await check(page)
        await page.get_by_role("button", name=word("publish.yes")).click()
        await page.get_by_role("link", name=word("programme.plan_cohort")).click()
        await page.get_by_role("button", name=word("plan_cohort.keep")).last.click()
        await expect(page.get_by_role("alert")).to_be_focused()
        await check(page)
        await page.get_by_label(word("plan_cohort.name"), exact=True).fill("2027")
        await page.get_by_label(word("cohort.capacity")).fill("12")
        await page.get_by_label(word("plan_cohort.starts_on")).fill("2027-03-01")
        await page.get_by_label(word("plan_cohort.ends_on")).fill("2027-06-12")
        await page.get_by_label(word("plan_cohort.unit")).select_option("HQ - North")
        await page.get_by_role("button", name=word("plan_cohort.keep")).last.click()
        await page.get_by_role("button", name=word("cohort.open")).click()
        await expect(page.get_by_text(word("done.changed"))).to_be_visible()
        await check(page)
        await context.close()
        [cohort] = (await ok(office.get("/enrolment/v1/cohorts")))["items"]
        assert (cohort["status"], cohort["unit_id"]) == ("open", str(world.north))
        assert cohort["programme_title"] == {"sv": "Leda utan chefstitel", "en": "Leading without a manager's title"}
