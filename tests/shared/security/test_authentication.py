"""Who is asking: tokens of the issuer and machine tokens; and everything that must not pass for one."""

import base64
import hmac
import json
import os
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from joserfc.jwk import ECKey, RSAKey

from deploy.embedded.process import Child, free_port, wait_until_listening
from shared.events.vocabulary import Role
from shared.ids import new_id
from shared.security.oidc import TokenVerifier
from tests.shared.security.signed_app import HandIssuer, add_anna, an_app, ask
from tests.support.databases import Databases
from tests.support.directory import add_machine, add_person, grant
from tests.support.serving import client_of, on_a_port
from tests.support.signing_in import bind, signed_in


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
