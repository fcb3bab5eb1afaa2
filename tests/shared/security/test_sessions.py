"""Who is asking, by the session that signing in set; and what must not pass for one."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import Response

from shared.directory.handlers import end_sessions
from shared.events import SessionEnded
from shared.ids import new_id
from shared.postgres.transaction import transaction
from shared.security.credentials import resolve_credentials
from shared.security.oidc import Account
from shared.security.principal import Principal
from shared.security.session import COOKIE, set_session, sign_claims, verify_claims
from shared.settings import Settings
from tests.shared.security.signed_app import add_anna
from tests.support.directory import add_person, grant
from tests.support.settings import make_settings
from tests.support.signing_in import ISSUER, bind, session_of, signed_in


async def test_every_service_takes_the_session_that_signing_in_set(app: FastAPI, client: httpx.AsyncClient) -> None:
    person_id = await add_person(app.state.pool, "anna")
    response = Response()
    set_session(response, app.state.settings, person_id=person_id, subject="f3c1a8d2", name="Anna")
    [cookie] = [each for each in response.headers.getlist("set-cookie") if each.startswith(COOKIE)]
    assert "httponly" in cookie.lower()
    assert "samesite=lax" in cookie.lower()
    answer = await client.get("/feedback/v1/whoami", headers={"cookie": cookie.split(";")[0]})
    assert answer.json()["name"] == "anna Berg"


async def test_a_session_that_is_forged_foreign_ended_or_for_something_else_is_none(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    await add_person(app.state.pool, "anna")
    settings = app.state.settings
    genuine = verify_claims(settings, "session", session_of(settings, "anna")) or {}
    other = make_settings(Settings, "postgresql://x", session_secret="another-secret-another-secret-another")
    of_0_1_0 = {name: genuine[name] for name in ("iss", "sub", "name")}
    for cookie in (
        sign_claims(other, "session", genuine, seconds=60),
        sign_claims(settings, "session", genuine | {"iss": "https://elsewhere.example"}, seconds=60),
        sign_claims(settings, "session", genuine, seconds=-1),
        sign_claims(settings, "login", genuine, seconds=60),
        sign_claims(settings, "arrival", genuine, seconds=60),
        sign_claims(settings, "session", of_0_1_0, seconds=60),
        sign_claims(settings, "session", genuine | {"person": "anna"}, seconds=60),
        sign_claims(settings, "session", genuine | {"began": "now"}, seconds=60),
        sign_claims(settings, "session", genuine, seconds=60)[:-3] + "AAA",
        "nonsense",
    ):
        headers = {"cookie": f"{COOKIE}={cookie}"}
        assert (await client.get("/feedback/v1/whoami", headers=headers)).status_code == 401
        assert (await client.get("/feedback/page", headers=headers)).json() == "nobody"


async def test_a_session_that_was_read_before_ends_at_its_time(app: FastAPI, client: httpx.AsyncClient) -> None:
    await add_person(app.state.pool, "anna")
    settings = app.state.settings
    genuine = verify_claims(settings, "session", session_of(settings, "anna")) or {}
    cookie = sign_claims(settings, "session", genuine, seconds=4)
    headers = {"cookie": f"{COOKIE}={cookie}", "sec-fetch-site": "same-origin"}
    assert (await client.get("/feedback/v1/whoami", headers=headers)).status_code == 200
    await asyncio.sleep(4.1)
    assert (await client.get("/feedback/v1/whoami", headers=headers)).status_code == 401


async def test_a_session_ends_when_somebody_signs_out_and_no_other_does(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    await add_person(app.state.pool, "anna")
    mine, copied = signed_in(app.state.settings, "anna"), signed_in(app.state.settings, "anna")
    ended = verify_claims(app.state.settings, "session", copied["cookie"].partition("=")[2]) or {}
    state = SessionEnded(session_id=UUID(ended["sid"]), until=datetime.now(UTC) + timedelta(hours=8))
    await app.state.pool.execute("insert into ended_sessions values ($1, now() - interval '1 second')", new_id())
    for _ in range(2):  # a redelivery changes nothing
        async with transaction(app.state.pool) as conn:
            await end_sessions(conn, [state])
    assert (await client.get("/feedback/v1/whoami", headers=copied)).status_code == 401
    assert (await client.get("/feedback/v1/whoami", headers=mine)).status_code == 200
    kept = await app.state.pool.fetch("select id from ended_sessions")
    assert [row["id"] for row in kept] == [state.session_id]  # what has ended by itself is forgotten


@pytest.mark.usefixtures("client")
async def test_an_account_counts_no_longer_than_the_token_that_spoke_of_it(app: FastAPI) -> None:
    """What it opened is looked at again while it stays open: a stream ends with its token."""
    pool = app.state.pool
    anna = await add_person(pool, "anna")
    await bind(pool, anna, "anna")
    for seconds, counts in ((60, True), (-1, False)):
        account = Account(ISSUER, "anna", None, time.time() + seconds)
        held = (await resolve_credentials(pool, [account], datetime.now(UTC)))[account]
        assert isinstance(held, Principal) is counts


@pytest.mark.usefixtures("client")
async def test_no_session_is_remembered_for_longer_than_sessions_last_whatever_a_record_says(app: FastAPI) -> None:
    forged = SessionEnded(session_id=new_id(), until=datetime.now(UTC) + timedelta(days=36500))
    async with transaction(app.state.pool) as conn:
        await end_sessions(conn, [forged])
    assert await app.state.pool.fetchval("select max(until) <= now() + interval '8 hours' from ended_sessions")


async def test_what_a_service_knows_of_an_account_wins_over_what_a_session_says(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    pool, settings = app.state.pool, app.state.settings
    anna, bo = await add_person(pool, "anna"), await add_person(pool, "bo")

    async def whoami() -> int:
        return (await client.get("/feedback/v1/whoami", headers=session)).status_code

    session = signed_in(settings, "anna")
    assert await whoami() == 200  # nothing has been heard of the account yet
    await bind(pool, anna, "anna", settings.oidc_issuer)
    assert await whoami() == 200
    await pool.execute("update sign_ins set subject = 'another'")
    assert await whoami() == 401
    await pool.execute("update sign_ins set subject = 'anna', person_id = $1", bo)
    assert await whoami() == 401
    await pool.execute("delete from sign_ins")
    await grant(pool, anna, {})
    await pool.execute("update access set sessions_from = now() + interval '1 second'")
    assert await whoami() == 401


async def test_a_session_that_began_where_the_end_of_its_sign_in_was_not_known_yet_ends_where_it_is(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    pool, settings = app.state.pool, app.state.settings
    anna = await add_person(pool, "anna")
    await grant(pool, anna, {})
    await pool.execute("update access set sessions_from = now() - interval '1 minute'")  # an operator ended it then
    session = signed_in(settings, "anna")  # the portal had not heard of it
    assert (await client.get("/feedback/v1/whoami", headers=session)).status_code == 401
    await bind(pool, anna, "anna", settings.oidc_issuer)  # and has bound the account again
    assert (await client.get("/feedback/v1/whoami", headers=session)).status_code == 200


async def test_another_sites_page_cannot_ride_on_a_session(app: FastAPI, client: httpx.AsyncClient) -> None:
    await add_anna(app)
    cookie = signed_in(app.state.settings, "anna")

    async def post(**headers: str) -> int:
        sent = cookie | {name.replace("_", "-"): value for name, value in headers.items()}
        return (await client.post("/feedback/v1/whoami", headers=sent)).status_code

    assert await post(sec_fetch_site="same-origin") == 200
    assert await post(origin="http://127.0.0.1:8080") == 200
    assert await post(sec_fetch_site="cross-site") == 403
    assert await post(sec_fetch_site="same-site") == 403
    assert await post(origin="https://evil.example") == 403
    assert await post(origin="null") == 403
    assert await post(origin="null", sec_fetch_site="same-origin") == 200  # a page that sends no referrer


async def test_a_browser_is_sent_to_sign_in_and_back_and_a_stranger_is_told_so_in_words(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    browser = {"accept": "text/html,application/xhtml+xml"}
    answer = await client.get("/feedback/mine?tab=2", headers=browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Ffeedback%2Fmine%3Ftab%3D2")
    stranger = await client.get(
        "/feedback/mine", headers=browser | signed_in(app.state.settings, "stranger") | {"accept-language": "en"}
    )
    assert stranger.status_code == 403
    assert "We cannot find you in the people register" in stranger.text
    assert "or your employee id if it gives none" in stranger.text
