"""Signing in against a real issuer, which is reached through the portal's own proxy as in the embedded stack."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.embedded.process import free_port
from deploy.issuer.app import create_issuer
from deploy.issuer.settings import IssuerSettings
from services.portal.login.domain import safe_next
from services.portal.settings import PortalSettings
from shared.events import SessionEnded
from shared.postgres.pool import Pool
from shared.security.session import COOKIE
from tests.portal.serving import Portal, portal_on_a_port
from tests.support.directory import add_person
from tests.support.serving import on_a_port
from tests.support.signing_in import bind


@asynccontextmanager
async def stack(settings: PortalSettings, pool: Pool, **overrides: Any) -> AsyncIterator[Portal]:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    issuer = create_issuer(IssuerSettings(environment="development", public_url=origin))
    async with on_a_port(issuer) as upstream:
        ours = settings.model_copy(
            update={
                "public_url": origin, "oidc_issuer": f"{origin}/issuer", "upstreams": {"issuer": upstream}, **overrides,
            }
        )  # fmt: skip
        async with portal_on_a_port(ours, pool, port) as portal:
            yield portal


async def add_anna(portal: Portal) -> UUID:
    """Anna, whose account has signed in before."""
    person_id = await add_person(portal.pool, "anna")
    await bind(portal.pool, person_id, "anna", portal.settings.oidc_issuer)
    return person_id


@pytest.fixture
async def portal(settings: PortalSettings, pool: Pool) -> AsyncIterator[Portal]:
    async with stack(settings, pool) as portal:
        yield portal


async def choose(client: httpx.AsyncClient, authorize: str, subject: str) -> httpx.Response:
    """At the issuer: pick a person; gives the redirect back."""
    page = await client.get(authorize)
    assert page.status_code == 200
    carried = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    return await client.post("/issuer/authorize", data=carried | {"sub": subject})


async def test_signing_in_leads_back_to_where_somebody_wanted_to_go(portal: Portal) -> None:
    await add_anna(portal)
    async with portal.browser() as client:
        start = await client.get("/login", params={"next": "/feedback/?lang=sv"})
        asked = parse_qs(urlsplit(start.headers["location"]).query)
        assert asked["code_challenge_method"] == ["S256"]
        assert "anna" not in start.headers["location"]
        back = await choose(client, start.headers["location"], "anna")
        done = await client.get(back.headers["location"])
        assert (done.status_code, done.headers["location"]) == (303, "/feedback/?lang=sv")
        cookie = next(value for value in done.headers.get_list("set-cookie") if value.startswith(COOKIE))
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert (await client.get("/portal/v1/overview")).status_code == 200


async def test_an_account_that_nobody_is_known_by_goes_to_the_service_that_binds_accounts(portal: Portal) -> None:
    await add_person(portal.pool, "anna")  # with the login, but that alone says nothing here
    async with portal.browser() as client:
        start = await client.get("/login", params={"next": "/feedback/"})
        back = await choose(client, start.headers["location"], "anna")
        done = await client.get(back.headers["location"])
        assert (done.status_code, done.headers["location"]) == (303, "/enrolment/sign-in")
        assert COOKIE not in client.cookies
        assert "medled_arrival" in client.cookies


async def test_two_tabs_can_sign_in_at_once(portal: Portal) -> None:
    await add_anna(portal)
    async with portal.browser() as client:
        first = await client.get("/login", params={"next": "/one"})
        second = await client.get("/login", params={"next": "/two"})
        for start, goal in ((first, "/one"), (second, "/two")):
            back = await choose(client, start.headers["location"], "anna")
            assert (await client.get(back.headers["location"])).headers["location"] == goal


async def test_a_callback_that_another_browser_began_signs_nobody_in(portal: Portal) -> None:
    async with portal.browser() as mine, portal.browser() as theirs:
        start = await theirs.get("/login")
        back = await choose(theirs, start.headers["location"], "mallory")
        answer = await mine.get(back.headers["location"])
        assert answer.status_code == 400
        assert COOKIE not in mine.cookies


@pytest.mark.parametrize("tampered", ["code=made-up", "state=made-up", "code="])
async def test_a_tampered_callback_signs_nobody_in(portal: Portal, tampered: str) -> None:
    name, _, value = tampered.partition("=")
    async with portal.browser() as client:
        start = await client.get("/login")
        back = await choose(client, start.headers["location"], "anna")
        address = httpx.URL(back.headers["location"]).copy_set_param(name, value)
        answer = await client.get(address)
        assert answer.status_code == 400
        assert COOKIE not in client.cookies
        assert 'href="/login"' in answer.text


async def test_a_code_works_once(portal: Portal) -> None:
    async with portal.browser() as client:
        start = await client.get("/login")
        kept = dict(client.cookies)
        back = await choose(client, start.headers["location"], "anna")
        assert (await client.get(back.headers["location"])).status_code == 303
        client.cookies.clear()
        client.cookies.update(kept)
        assert (await client.get(back.headers["location"])).status_code == 400
        assert COOKIE not in client.cookies


async def test_an_id_token_for_another_attempt_is_refused(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    async with portal.browser() as client:
        start = await client.get("/login")
        address = httpx.URL(start.headers["location"]).copy_set_param("nonce", "somebody-elses")
        back = await choose(client, str(address), "anna")
        assert (await client.get(back.headers["location"])).status_code == 400
        assert COOKIE not in client.cookies


async def test_without_the_issuer_signing_in_says_so(settings: PortalSettings, pool: Pool) -> None:
    async with portal_on_a_port(settings, pool) as portal, portal.browser() as client:
        answer = await client.get("/login", headers={"accept": "text/html"})
        assert answer.status_code == 503
        assert "Det går inte att logga in just nu" in answer.text


async def test_signing_out_ends_the_session_here_at_the_issuer_and_in_every_copy_of_its_cookie(portal: Portal) -> None:
    async with portal.browser("anna") as client, portal.browser() as thief:
        thief.cookies.update(client.cookies)
        assert (await client.get("/portal/v1/overview")).status_code == 200
        assert (await client.get("/logout")).status_code == 200  # a link alone signs nobody out
        assert (await client.get("/portal/v1/overview")).status_code == 200
        cross = await client.post("/logout", headers={"sec-fetch-site": "cross-site"})
        assert cross.status_code == 403
        done = await client.post("/logout", headers={"sec-fetch-site": "same-origin"})
        assert done.headers["location"].startswith(f"{portal.settings.oidc_issuer}/logout?")
        for browser in (client, thief):
            assert (await browser.get("/portal/v1/overview")).status_code == 401
        assert [row["type"] for row in await portal.pool.fetch("select type from outbox")] == [SessionEnded.type]


@pytest.mark.parametrize(
    "unsafe",
    [
        "https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example",
        "javascript:alert(1)", "evil.example", "/\n/evil.example", "/login?next=/", "/logout", " /x", "",
    ],
)  # fmt: skip
def test_nobody_is_sent_to_another_origin(unsafe: str) -> None:
    assert safe_next(unsafe) == "/"


@given(st.text(max_size=60))
def test_whatever_is_asked_for_stays_on_this_origin(asked: str) -> None:
    goal = safe_next(asked)
    assert goal.startswith("/")
    assert not goal.startswith(("//", "/\\"))
    assert httpx.URL("https://medled.example").join(goal).host == "medled.example"


@pytest.mark.parametrize("path", ["/", "/feedback/", "/enrolment/cohorts?cursor=a%2Fb", "/åäö"])
def test_a_path_of_ours_is_kept(path: str) -> None:
    assert safe_next(path) == path
