"""HEAD, OPTIONS and the methods that an address has."""

import httpx
import pytest
from fastapi import FastAPI

from tests.support.serving import exchange, on_a_port


@pytest.mark.parametrize(
    "path",
    ["/health/live", "/health/ready", "/feedback/openapi.json", "/static/styles.css", "/feedback/v1/echo?text=x",
     "/feedback/v1/broken", "/feedback/v1/echo", "/nowhere"],
)  # fmt: skip
async def test_head_is_answered_as_get_without_the_body(app: FastAPI, path: str) -> None:
    async with on_a_port(app) as origin:
        head, nothing = await exchange(origin, f"HEAD {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        get, _ = await exchange(origin, f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    assert nothing == b""
    changing = (b"date:", b"traceresponse:")
    assert [line for line in head.lower().split(b"\r\n") if not line.startswith(changing)] == [
        line for line in get.lower().split(b"\r\n") if not line.startswith(changing)
    ]


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/feedback/v1/notes", "GET, HEAD, POST, OPTIONS"), ("/feedback/v1/notes/1/close", "POST, OPTIONS"),
     ("/health/live", "GET, HEAD, OPTIONS"), ("/static/styles.css", "GET, HEAD, OPTIONS")],
)  # fmt: skip
async def test_every_method_of_an_address_is_named(client: httpx.AsyncClient, path: str, methods: str) -> None:
    asked = await client.options(path)
    refused = await client.delete(path)

    assert (asked.status_code, asked.headers["allow"], asked.content) == (204, methods, b"")
    assert (refused.status_code, refused.headers["allow"]) == (405, methods)
    assert "no-store" in asked.headers["cache-control"]


async def test_an_address_that_leads_nowhere_has_no_methods(client: httpx.AsyncClient) -> None:
    for method in ("OPTIONS", "HEAD", "DELETE"):
        assert (await client.request(method, "/feedback/v1/nothing")).status_code == 404


async def test_a_head_where_only_post_is_answered_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.head("/feedback/v1/uploads")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")
