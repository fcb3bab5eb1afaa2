"""A real browser, and what every page must be in it."""

import shutil

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
TALLEST_HEADER = 72


async def is_usable(page: Page) -> None:
    """Accessible, and from a small phone to a desk: nothing to scroll sideways, a header that leaves the page room."""
    for width in (320, 390, 1280):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") == width, f"{page.url} at {width}"
        tall = await page.evaluate("document.querySelector('header.top')?.offsetHeight ?? 0")
        assert tall <= TALLEST_HEADER, f"{page.url} at {width}"
    await is_accessible(page)


async def is_accessible(page: Page) -> None:
    """axe-core finds nothing."""
    assert (await Axe().run(page, options=WCAG)).response["violations"] == []
