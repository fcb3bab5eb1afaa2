"""What every service does with a request: health, hosts, headers, an absent database."""

import json

import httpx
import pytest
from fastapi import FastAPI

from tests.shared.http.notes import an_app
from tests.support.serving import client_of, exchange, on_a_port


async def test_without_postgres_the_answer_is_503_and_when_to_come_back() -> None:
    app = an_app("postgresql://medled@127.0.0.1:1/medled")
    async with client_of(app) as client:
        answer = await client.get("/feedback/v1/notes")
        posted = await client.post("/feedback/v1/notes", json={"title": "x"}, headers={"idempotency-key": "k"})
        page = await client.get("/feedback/v1/../notes-page", headers={"accept": "text/html"})
        live, ready = await client.get("/health/live"), await client.get("/feedback/health/ready")
    assert answer.status_code == posted.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["type"].endswith("/problems/unavailable")
    assert page.status_code == 404
    assert (live.status_code, ready.status_code) == (200, 503)
    assert ready.json()["database"]["reachable"] is False


async def test_ready_needs_the_database_and_its_migrations_but_no_broker(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    ready = await client.get("/feedback/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["broker"] == {"reachable": False}
    assert ready.json()["database"]["outbox"] == {"waiting": 0, "oldest_seconds": 0.0}
    await app.state.pool.execute("delete from schema_migrations_shared where version = '20260101000002'")
    pending = await client.get("/health/ready")
    assert (pending.status_code, pending.json()["database"]["pending_migrations"]) == (503, ["20260101000002"])
    assert (await client.get("/feedback/health/live")).status_code == 200


async def test_a_slash_too_many_leads_to_the_right_address_on_whatever_origin_the_client_knows(app: FastAPI) -> None:
    async with on_a_port(app) as origin:
        head, _ = await exchange(origin, b"GET /feedback/v1/notes/?limit=1 HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert b"HTTP/1.1 307 " in head
    assert b"\r\nlocation: /feedback/v1/notes?limit=1\r\n" in head
    assert b"evil" not in head


@pytest.mark.parametrize("hosts", [b"", b"Host: one\r\nHost: one\r\n", b"Host: one\r\nHost: two\r\n", b"Host: a/b\r\n"])
async def test_a_request_that_does_not_say_once_whom_it_is_for_is_refused(app: FastAPI, hosts: bytes) -> None:
    async with on_a_port(app) as origin:
        head, body = await exchange(origin, b"GET /feedback/v1/notes HTTP/1.1\r\n" + hosts + b"\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\ncontent-type: application/problem+json\r\n" in head
    assert json.loads(body)["type"].endswith("/problems/invalid-host")


@pytest.mark.parametrize("line", [b"HTTP/1.0\r\n", b"HTTP/1.1\r\nHost:\r\n", b"HTTP/1.1\r\nHost: [::1]:8080\r\n"])
async def test_a_host_may_be_empty_or_an_address_and_missing_in_http_1_0(app: FastAPI, line: bytes) -> None:
    async with on_a_port(app) as origin:
        head, _ = await exchange(origin, b"GET /feedback/v1/notes " + line + b"\r\n")
    assert b" 200 " in head.splitlines()[0]


async def test_browsers_are_told_to_be_careful(client: httpx.AsyncClient) -> None:
    headers = (await client.get("/feedback/v1/notes")).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
