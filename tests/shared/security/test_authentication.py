"""Who is asking: tokens of the issuer, machine tokens, the session; and everything that must not pass for one."""

import base64
import hmac
import json
import os
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.embedded.process import Child, free_port, wait_until_listening
from services.feedback.service import SERVICE
from shared.directory.handlers import end_sessions
from shared.events import SessionEnded
from shared.events.vocabulary import Role
from shared.http.app import Api, create_app
from shared.ids import new_id
from shared.postgres.transaction import transaction
from shared.security.authentication import optional_principal, principal
from shared.security.credentials import resolve_credentials
from shared.security.oidc import Account, TokenVerifier
from shared.security.principal import Principal
from shared.security.session import COOKIE, set_session, sign_claims, verify_claims
from shared.settings import Settings
from tests.support.databases import Databases
from tests.support.directory import add_machine, add_person, grant
from tests.support.serving import client_of, on_a_port
from tests.support.settings import make_settings
from tests.support.signing_in import ISSUER, bind, session_of, signed_in

router = APIRouter()


@router.get("/feedback/v1/whoami")
async def whoami(who: Annotated[Principal, Depends(principal)]) -> dict[str, Any]:
    roles = {role: None if units is None else sorted(map(str, units)) for role, units in who.roles.items()}
    return {"id": who.id, "kind": who.kind, "name": who.name, "roles": roles}


@router.post("/feedback/v1/whoami")
async def change_me(who: Annotated[Principal, Depends(principal)]) -> str:
    return who.id


@router.get("/feedback/page")
async def page(who: Annotated[Principal | None, Depends(optional_principal)]) -> str:
    return who.name if who else "nobody"


@router.get("/feedback/mine")
async def mine(who: Annotated[Principal, Depends(principal)]) -> str:
    return who.name


class HandIssuer:
    """An issuer whose keys and answers the test holds in its hand."""

    def __init__(self) -> None:
        self.keys: list[RSAKey | ECKey] = [RSAKey.generate_key(2048, {"kid": "first"})]
        self.fetched = 0
        self.url = ""
        self.app = Starlette(
            routes=[Route("/.well-known/openid-configuration", self._metadata), Route("/jwks", self._published)]
        )

    async def _metadata(self, _: Request) -> Response:
        return JSONResponse({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"})

    async def _published(self, _: Request) -> Response:
        self.fetched += 1
        unknown = {"kty": "NEW", "kid": "from the future"}
        return JSONResponse({"keys": [unknown, *KeySet(list(self.keys)).as_dict(private=False)["keys"]]})

    def token(self, *, key: Any = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        key = key or self.keys[-1]
        now = int(time.time())
        full = {"iss": self.url, "aud": "medled", "sub": "anna", "iat": now, "exp": now + 300} | claims
        kept = {name: value for name, value in full.items() if value is not None}
        header = {"alg": "ES256" if isinstance(key, ECKey) else "RS256", "kid": key.kid} | (header or {})
        return jwt.encode(header, kept, key, algorithms=[header["alg"]])


@pytest.fixture
async def issuer() -> AsyncIterator[HandIssuer]:
    issuer = HandIssuer()
    async with on_a_port(issuer.app) as issuer.url:
        yield issuer


def an_app(dsn: str, issuer_url: str) -> FastAPI:
    settings = make_settings(Settings, dsn, oidc_issuer=issuer_url)
    return create_app(settings, SERVICE, Api(title="Test", description="", routers=[router]))


@pytest.fixture
async def app(database: Databases, issuer: HandIssuer) -> FastAPI:
    return an_app(await database("feedback"), issuer.url)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


async def add_anna(app: FastAPI, **more: Any) -> UUID:
    """Anna, who has signed in before."""
    person_id = await add_person(app.state.pool, "anna", **more)
    await bind(app.state.pool, person_id, "anna", app.state.settings.oidc_issuer)
    return person_id


async def ask(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get("/feedback/v1/whoami", headers={"authorization": f"Bearer {token}"})


@pytest.mark.parametrize("crit", [5, None, True, [1], [[]]])
async def test_a_token_with_a_header_that_makes_no_sense_is_refused_and_no_fault_of_ours(
    client: httpx.AsyncClient, crit: object
) -> None:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "crit": crit}).encode()).decode().rstrip("=")
    assert (await ask(client, f"{header}.e30.x")).status_code == 401


@pytest.fixture
def independent_issuer(tmp_path: Path) -> Iterator[str]:
    """An issuer that somebody else wrote."""
    port = free_port()
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)]
    child = Child("issuer", command, tmp_path / "issuer.log", environment=os.environ)
    child.start()
    wait_until_listening(child, port, 20)
    yield f"http://127.0.0.1:{port}"
    child.kill()


async def test_a_token_of_an_independent_issuer_identifies_the_person_its_account_is_bound_to(
    database: Databases, independent_issuer: str
) -> None:
    url = independent_issuer
    app = an_app(await database("feedback"), url)
    async with httpx.AsyncClient(trust_env=False) as browser:
        asked = {"client_id": "medled", "redirect_uri": "http://127.0.0.1:8080/callback", "response_type": "code",
                 "scope": "openid", "state": "s", "nonce": "n"}  # fmt: skip
        sent = await browser.post(f"{url}/oauth2/authorize", params=asked, data={"sub": "anna"})
        code = httpx.URL(sent.headers["location"]).params["code"]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": asked["redirect_uri"]}
        tokens = (await browser.post(f"{url}/oauth2/token", data=form, auth=("medled", "any"))).json()
    async with client_of(app) as client:
        person_id = await add_person(app.state.pool, "anna.berg")
        await bind(app.state.pool, person_id, "anna", url)
        answer = await ask(client, tokens["id_token"])
    assert answer.json() == {"id": f"person:{person_id}", "kind": "person", "name": "anna.berg Berg", "roles": {}}


async def test_roles_come_from_the_access_table_and_unknown_ones_grant_nothing(
    app: FastAPI, client: httpx.AsyncClient, issuer: HandIssuer
) -> None:
    person_id = await add_anna(app)
    await grant(app.state.pool, person_id, {Role.operator: None})
    await app.state.pool.execute("""update access set roles = roles || '{"emperor": null}'::jsonb""")
    assert (await ask(client, issuer.token())).json()["roles"] == {"operator": None}


async def test_roles_end_when_they_expire(app: FastAPI, client: httpx.AsyncClient, issuer: HandIssuer) -> None:
    person_id = await add_anna(app)
    await grant(app.state.pool, person_id, {Role.operator: None}, datetime.now(UTC) - timedelta(seconds=1))
    assert (await ask(client, issuer.token())).json()["roles"] == {}


def by_hand(header: dict[str, str], claims: dict[str, Any], secret: bytes | None) -> str:
    """A token that no honest library would make."""
    parts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = hmac.digest(secret, b".".join(parts), "sha256") if secret else b""
    return b".".join([*parts, urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def bad_tokens(issuer: HandIssuer) -> dict[str, str]:
    now = int(time.time())
    foreign = RSAKey.generate_key(2048, {"kid": "first"})
    public = issuer.keys[0].as_pem(private=False)
    good = issuer.token()
    head, body, signature = good.split(".")
    claims = {"iss": issuer.url, "aud": "medled", "sub": "anna", "exp": now + 300}
    return {
        "expired": issuer.token(exp=now - 120),
        "not yet valid": issuer.token(nbf=now + 600),
        "from the future": issuer.token(iat=now + 600),
        "signed by somebody else": issuer.token(key=foreign),
        "of another issuer": issuer.token(iss="https://login.example.org"),
        "for another audience": issuer.token(aud="payroll"),
        "for nobody in particular": issuer.token(aud=None),
        "for ever": issuer.token(exp=None),
        "without a subject": issuer.token(sub=None),
        "with an empty subject": issuer.token(sub=""),
        "with a number for a subject": issuer.token(sub=7),
        "unsigned": by_hand({"alg": "none"}, claims, None),
        "signed with the public key as a secret": by_hand({"alg": "HS256", "kid": "first"}, claims, public),
        "with another body": f"{head}.{body[:-4]}AAAA.{signature}",
        "with no signature": f"{head}.{body}.",
        "that is no token": "hello",
        "that is endless": good + "A" * 20_000,
        "of a machine nobody knows": "mlt_" + "A" * 43,
    }


async def test_what_does_not_hold_is_refused_and_always_in_the_same_words(
    app: FastAPI, client: httpx.AsyncClient, issuer: HandIssuer
) -> None:
    await add_anna(app)
    assert (await ask(client, issuer.token())).status_code == 200
    answers = {what: await ask(client, token) for what, token in bad_tokens(issuer).items()}
    assert {what: answer.status_code for what, answer in answers.items()} == dict.fromkeys(answers, 401)
    assert len({answer.text for answer in answers.values()}) == 1
    basic = await client.get("/feedback/v1/whoami", headers={"authorization": "Basic YTpi"})
    nothing = await client.get("/feedback/v1/whoami")
    assert basic.status_code == nothing.status_code == 401
    assert nothing.headers["www-authenticate"].startswith("Bearer")


async def test_a_rotated_key_is_fetched_once_it_is_seen(
    app: FastAPI, client: httpx.AsyncClient, issuer: HandIssuer
) -> None:
    await add_anna(app)
    verifier: TokenVerifier = app.state.token_verifier
    assert (await ask(client, issuer.token())).status_code == 200
    issuer.keys = [ECKey.generate_key("P-256", {"kid": "second"})]
    verifier._fetched_at -= 60  # a while later
    assert (await ask(client, issuer.token())).status_code == 200
    assert issuer.fetched == 2


async def test_made_up_key_ids_do_not_make_us_hammer_the_issuer(
    app: FastAPI, client: httpx.AsyncClient, issuer: HandIssuer
) -> None:
    await add_anna(app)
    for number in range(20):
        made_up = issuer.token(key=RSAKey.generate_key(2048, {"kid": f"made-up-{number}"}) if number == 0 else None,
                               header={"kid": f"made-up-{number}"})  # fmt: skip
        assert (await ask(client, made_up)).status_code == 401
    assert issuer.fetched == 1


async def test_a_silent_issuer_is_an_outage_and_no_reason_to_let_in_or_turn_away(database: Databases) -> None:
    app = an_app(await database("feedback"), "http://127.0.0.1:1")
    issuer = HandIssuer()
    issuer.url = "http://127.0.0.1:1"
    async with client_of(app) as client:
        answer = await ask(client, issuer.token())
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["type"].endswith("/problems/issuer-unavailable")


async def test_keys_that_are_known_hold_while_the_issuer_is_away(database: Databases) -> None:
    issuer = HandIssuer()
    async with on_a_port(issuer.app) as issuer.url:
        app = an_app(await database("feedback"), issuer.url)
        await app.state.token_verifier.verify(issuer.token())
    async with client_of(app) as client:
        await add_anna(app)
        assert (await ask(client, issuer.token())).status_code == 200


async def test_an_issuer_by_another_name_is_not_ours(database: Databases) -> None:
    issuer = HandIssuer()
    issuer.url = "https://login.example.org"
    async with on_a_port(issuer.app) as url:
        app = an_app(await database("feedback"), url)
        async with client_of(app) as client:
            assert (await ask(client, issuer.token(iss=url))).status_code == 503


async def test_signed_in_is_not_enough_for_who_is_not_in_the_register_or_has_left(
    app: FastAPI, client: httpx.AsyncClient, issuer: HandIssuer
) -> None:
    for status in ("inactive", "on_leave"):
        await bind(app.state.pool, await add_person(app.state.pool, status, status=status), status, issuer.url)
    await bind(app.state.pool, new_id(), "erased", issuer.url)
    for gone in ("inactive", "erased"):
        answer = await ask(client, issuer.token(sub=gone))
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (403, "unknown-person")
    assert (await ask(client, issuer.token(sub="on_leave"))).status_code == 200


async def test_a_login_alone_opens_nothing_where_accounts_are_not_bound(
    app: FastAPI, client: httpx.AsyncClient, issuer: HandIssuer
) -> None:
    await add_person(app.state.pool, "anna")
    answer = await ask(client, issuer.token())
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (403, "sign-in-unbound")
    assert "/enrolment/v1/me" in answer.json()["remedy"]


async def test_an_account_that_two_people_hold_for_a_moment_lets_neither_in(
    app: FastAPI, client: httpx.AsyncClient, issuer: HandIssuer
) -> None:
    anna, bo = await add_anna(app), await add_person(app.state.pool, "bo")
    await bind(app.state.pool, bo, "anna", issuer.url)
    assert (await ask(client, issuer.token())).status_code == 403
    for person_id in (anna, bo):
        headers = signed_in(app.state.settings, "anna", person=str(person_id))
        assert (await client.get("/feedback/v1/whoami", headers=headers)).status_code == 401


async def test_a_machine_token_carries_its_own_roles_until_it_expires(app: FastAPI, client: httpx.AsyncClient) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    token = await add_machine(app.state.pool, "HR platform", {Role.hr_integration: None}, soon)
    answer = (await ask(client, token)).json()
    assert (answer["kind"], answer["name"], answer["roles"]) == ("machine", "HR platform", {"hr_integration": None})
    assert answer["id"].startswith("machine:")
    assert token not in str(await app.state.pool.fetch("select * from access"))
    await app.state.pool.execute("update access set expires_at = $1", datetime.now(UTC) - timedelta(seconds=1))
    assert (await ask(client, token)).status_code == 401


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
