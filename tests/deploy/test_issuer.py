"""The local issuer: the code flow with PKCE, a list to choose from, tokens without a browser, never in production."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from deploy.embedded.process import free_port
from deploy.issuer.app import DEV_GRANT, create_issuer
from deploy.issuer.codes import LIVES_SECONDS, Codes
from deploy.issuer.settings import IssuerSettings
from deploy.issuer.tokens import Signer
from shared.security.oidc import InvalidTokenError, TokenVerifier
from tests.support.serving import on_a_port

ORIGIN = "http://127.0.0.1:8080"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
ASKED = {
    "client_id": "medled", "redirect_uri": f"{ORIGIN}/callback", "response_type": "code", "scope": "openid profile",
    "state": "some-state", "nonce": "some-nonce", "code_challenge": CHALLENGE, "code_challenge_method": "S256",
}  # fmt: skip


def settings(**changes: Any) -> IssuerSettings:
    return IssuerSettings(**({"environment": "development", "public_url": ORIGIN} | changes))


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.json"
    path.write_text(
        json.dumps([{"sub": f"p{n}", "name": f"Person {n}", "note": "manager" if n == 7 else ""} for n in range(50)])
    )
    return path


@pytest.fixture
async def client(people: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = create_issuer(settings(issuer_people=people))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
        yield client


async def a_code(client: httpx.AsyncClient, **form: str) -> str:
    answer = await client.post("/issuer/authorize", data=ASKED | {"sub": "p7"} | form)
    assert answer.status_code == 303
    back = httpx.URL(answer.headers["location"])
    assert (back.path, back.params["state"]) == ("/callback", "some-state")
    return back.params["code"]


async def redeem(client: httpx.AsyncClient, code: str, **changes: str) -> httpx.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": ASKED["redirect_uri"],
            "client_id": "medled", "code_verifier": VERIFIER}  # fmt: skip
    return await client.post("/issuer/token", data=form | changes)


async def claims_of(client: httpx.AsyncClient, token: str) -> dict[str, Any]:
    keys = KeySet.import_key_set((await client.get("/issuer/jwks")).json())
    return dict(jwt.decode(token, keys, algorithms=["RS256"]).claims)


async def test_who_is_chosen_is_who_the_tokens_name(client: httpx.AsyncClient) -> None:
    tokens = (await redeem(client, await a_code(client))).json()
    identity = await claims_of(client, tokens["id_token"])
    access = await claims_of(client, tokens["access_token"])
    assert (identity["sub"], identity["name"], identity["nonce"]) == ("p7", "Person 7", "some-nonce")
    assert (identity["iss"], identity["aud"], access["aud"]) == (f"{ORIGIN}/issuer", "medled", "medled")
    assert access["sub"] == "p7"
    assert "roles" not in access


async def test_anybody_may_be_typed_in_but_nobody_is_an_error(client: httpx.AsyncClient) -> None:
    tokens = (await redeem(client, await a_code(client, sub="", other=" somebody.else "))).json()
    assert (await claims_of(client, tokens["access_token"]))["sub"] == "somebody.else"
    nobody = await client.post("/issuer/authorize?lang=en", data=ASKED | {"other": " "})
    assert nobody.status_code == 422
    assert "Choose a person or type a login" in nobody.text


async def test_the_page_says_what_whoever_has_no_login_signs_in_with(client: httpx.AsyncClient) -> None:
    page = (await client.get("/issuer/authorize", params=ASKED | {"lang": "en"})).text
    assert "for whom it says nothing signs in with their employee id" in page


async def test_a_code_serves_once_and_only_with_its_verifier_address_and_client(client: httpx.AsyncClient) -> None:
    code = await a_code(client)
    assert (await redeem(client, code)).status_code == 200
    assert (await redeem(client, code)).json() == {"error": "invalid_grant"}
    assert (await redeem(client, await a_code(client), code_verifier="wrong")).status_code == 400
    assert (await redeem(client, await a_code(client), redirect_uri=f"{ORIGIN}/other")).status_code == 400
    assert (await redeem(client, await a_code(client), client_id="other")).status_code == 401
    assert (await redeem(client, "made-up")).status_code == 400


def test_a_code_ends_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = Codes()
    code = codes.give("anna", redirect_uri="x", challenge=CHALLENGE, nonce=None)
    later = time.monotonic() + LIVES_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert codes.redeem(code, redirect_uri="x", verifier=VERIFIER) is None


async def test_a_client_secret_is_asked_for_where_one_is_set() -> None:
    app = create_issuer(settings(oidc_client_secret="s3cret"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
        assert (await redeem(client, await a_code(client))).status_code == 401
        assert (await redeem(client, await a_code(client), client_secret="s3cret")).status_code == 200
        form = {"grant_type": "authorization_code", "code": await a_code(client), "code_verifier": VERIFIER,
                "redirect_uri": ASKED["redirect_uri"]}  # fmt: skip
        assert (await client.post("/issuer/token", data=form, auth=("medled", "s3cret"))).status_code == 200


async def test_a_code_goes_to_the_portal_and_nowhere_else(client: httpx.AsyncClient) -> None:
    for change in ({"redirect_uri": "https://evil.example/callback"}, {"client_id": "other"}):
        for answer in (
            await client.get("/issuer/authorize", params=ASKED | change),
            await client.post("/issuer/authorize", data=ASKED | {"sub": "p7"} | change),
        ):
            assert (answer.status_code, "location" in answer.headers) == (400, False)
    without = {name: value for name, value in ASKED.items() if name != "code_challenge"}
    refused = await client.get("/issuer/authorize", params=without)
    assert httpx.URL(refused.headers["location"]).params["error"] == "invalid_request"
    logout = await client.get(
        "/issuer/logout", params={"post_logout_redirect_uri": "http://127.0.0.1:8080.evil.example/"}
    )
    assert logout.headers["location"] == f"{ORIGIN}/"
    logout = await client.get("/issuer/logout", params={"post_logout_redirect_uri": f"{ORIGIN}/portal"})
    assert logout.headers["location"] == f"{ORIGIN}/portal"


async def test_the_list_is_searched_by_any_word_and_grows_while_it_runs(
    client: httpx.AsyncClient, people: Path
) -> None:
    async def page(**query: str) -> str:
        return (await client.get("/issuer/authorize", params=ASKED | {"lang": "en"} | query)).text

    everybody, managers, nobody = await page(), await page(q="MANAGER person"), await page(q="zzz")
    assert everybody.count('class="pick"') == 30
    assert "Showing 30 of 50" in everybody
    assert (managers.count('class="pick"'), "Person 7" in managers) == (1, True)
    assert "Nobody matches" in nobody
    people.write_text('[{"sub": "p7"')  # in the middle of being written
    assert "Person 7" in await page(q="manager")
    people.write_text(json.dumps([{"sub": "x", "name": "Xenia <script>"}]))
    assert "Xenia &lt;script&gt;" in await page()


async def test_a_program_gets_a_token_without_a_browser_and_services_take_it() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with on_a_port(create_issuer(settings(public_url=url)), port):
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{url}/issuer/token", data={"grant_type": DEV_GRANT, "sub": "anna"})
            nobody = await client.post(f"{url}/issuer/token", data={"grant_type": DEV_GRANT})
            other = await client.post(f"{url}/issuer/token", data={"grant_type": "password"})
        token = answer.json()["access_token"]
        assert (await TokenVerifier(f"{url}/issuer", "medled").verify(token)).subject == "anna"
        with pytest.raises(InvalidTokenError):
            await TokenVerifier(f"{url}/issuer", "payroll").verify(token)
    assert [nobody.json(), other.json()] == [{"error": "invalid_request"}, {"error": "unsupported_grant_type"}]


async def test_a_page_of_another_name_that_leads_here_gets_no_token() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with on_a_port(create_issuer(settings(public_url=url)), port), httpx.AsyncClient(trust_env=False) as client:
        asked = {"data": {"grant_type": DEV_GRANT, "sub": "anna"}, "headers": {"host": f"evil.example:{port}"}}
        assert (await client.post(f"{url}/issuer/token", **asked)).status_code == 400  # type: ignore[arg-type]


def test_tokens_survive_a_restart_when_the_key_is_kept_and_only_then(tmp_path: Path) -> None:
    key = tmp_path / "data" / "key.json"
    assert Signer(settings(issuer_key=key)).key_set() == Signer(settings(issuer_key=key)).key_set()
    assert key.stat().st_mode & 0o077 == 0
    assert "d" not in Signer(settings(issuer_key=key)).key_set()["keys"][0]
    assert Signer(settings()).key_set() != Signer(settings()).key_set()


@pytest.mark.parametrize("environment", [{"MEDLED_ENVIRONMENT": "production"}, {}])
def test_in_production_it_does_not_start(environment: dict[str, str]) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MEDLED_")}
    run = subprocess.run(
        [sys.executable, "-m", "deploy.issuer"],
        env=inherited | {"MEDLED_PUBLIC_URL": ORIGIN} | environment,
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert "does not start in production" in run.stderr
