"""Answering and reading in a real browser: usable by everybody, light and dark, down to a small phone."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from playwright.async_api import Browser, expect

from services.feedback.service import SERVICE
from shared.events import Group, Practice
from shared.security.session import COOKIE
from tests.feedback.house import PRACTICES, House, received
from tests.support.browser import is_usable
from tests.support.serving import on_a_port
from tests.support.signing_in import session_of

pytestmark = pytest.mark.browser

OTHERS = (Practice.mobilising, Practice.self_leadership)


@pytest.fixture
async def origin(house: House) -> AsyncIterator[str]:
    async with on_a_port(SERVICE.create_api(house.settings)) as origin:
        yield origin


async def open_now(house: House, *practices: Practice) -> UUID:
    """A round that is open by the clock on the wall."""
    cause = received(house.milestone(practices=practices or PRACTICES))
    await house.handle(cause, now=datetime.now(UTC))
    found: UUID = await house.pool.fetchval("select id from rounds where caused_by = $1", cause.id)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_answer_and_put_right_what_was_missed(
    browser: Browser, house: House, origin: str, scheme: str
) -> None:
    link = f"{origin}/feedback/r/{(await house.tokens(await open_now(house)))[Group.peer][0]}"
    page = await browser.new_page(color_scheme=scheme, locale="en-GB")  # type: ignore[arg-type]  # one of its literals
    await page.goto(f"{link}?lang=en")
    await is_usable(page)
    names = await page.eval_on_selector_all("fieldset", "sets => sets.map(one => one.id)")
    for name in names[1:]:
        await page.check(f'input[name="{name}"][value="4"]')
    await page.get_by_role("button", name="Send the answers").click()
    await expect(page.get_by_role("alert")).to_be_focused()
    await is_usable(page)
    await page.get_by_role("alert").get_by_role("link").click()
    await page.check(f'input[name="{names[0]}"][value="none"]')
    await page.get_by_role("button", name="Send the answers").click()
    await expect(page.get_by_role("heading", name="Thank you for your feedback")).to_be_visible()
    await is_usable(page)
    await page.get_by_role("link", name="Svenska").click()
    await expect(page.get_by_role("heading", name="Länken är redan använd")).to_be_visible()
    assert await house.pool.fetchval("select count(*) from ballots") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_read_their_results(browser: Browser, house: House, origin: str, scheme: str) -> None:
    shown, hidden = await open_now(house), await open_now(house, *OTHERS)
    now = datetime.now(UTC)
    for round_id, practices, peers in ((shown, PRACTICES, 6), (hidden, OTHERS, 3)):
        tokens = await house.tokens(round_id)
        for number, token in enumerate([tokens[Group.manager][0], *tokens[Group.peer][:peers]]):
            await house.answer(token, 2 + number % 3, practices=practices, now=now)
        await house.close(round_id, now=now + timedelta(days=15))
    context = await browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]  # one of its literals
    await context.add_cookies([{"name": COOKIE, "value": session_of(house.settings, "anna"), "url": origin}])
    page = await context.new_page()
    await page.goto(f"{origin}/feedback/?lang=en")
    await expect(page.get_by_text("Results ready")).to_have_count(2)
    await is_usable(page)
    await page.goto(f"{origin}/feedback/rounds/{shown}")
    await expect(page.get_by_role("img", name="Peers")).to_have_count(2)
    await is_usable(page)
    await page.goto(f"{origin}/feedback/rounds/{hidden}")
    await expect(page.get_by_text("Fewer than 5 answers: the figure is not shown")).to_have_count(2)
    await is_usable(page)
