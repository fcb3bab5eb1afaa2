"""The proxy hands on what it gets, believes no client about itself, and says so when nobody answers."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from deploy.embedded.process import free_port
from services.portal.proxy.proxy import add_proxy
from services.portal.service import SERVICE as PORTAL
from services.portal.settings import PortalSettings
from shared.postgres.pool import Pool
from tests.portal.serving import portal_on_a_port
from tests.support.serving import exchange, on_a_port


async def echo(request: Request) -> Response:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return JSONResponse(
        {
            "path": request.scope["raw_path"].decode(), "query": request.url.query, "method": request.method,
            "size": size, "headers": [[name.decode(), value.decode()] for name, value in request.headers.raw],
        }
    )  # fmt: skip


async def zipped(_: Request) -> Response:
    return Response(
        gzip.compress(b"fika"), headers={"content-encoding": "gzip", "connection": "close, x-inner", "x-inner": "1"}
    )


async def cookies(_: Request) -> Response:
    response = RedirectResponse("/feedback/elsewhere", 303)
    response.set_cookie("one", "1")
    response.set_cookie("two", "2")
    return response


async def slowly(_: Request) -> Response:
    async def body() -> AsyncIterator[str]:
        yield "first"
        await asyncio.sleep(30)
        yield "second"

    return StreamingResponse(body(), media_type="text/event-stream")


async def own(_: Request) -> Response:
    return PlainTextResponse("ours")


SERVICE = Starlette(
    routes=[
        Route("/feedback/zipped", zipped),
        Route("/feedback/cookies", cookies),
        Route("/feedback/slowly", slowly),
        Route("/feedback/{path:path}", echo, methods=["GET", "POST", "PUT", "DELETE"]),
        Route("/feedback", own),
    ]
)


@asynccontextmanager
async def proxied(upstream: str) -> AsyncIterator[httpx.AsyncClient]:
    front = Starlette(routes=[Route("/own", own)], max_body_size=1024)
    add_proxy(front, {"feedback": upstream})
    async with on_a_port(front) as origin, httpx.AsyncClient(base_url=origin, trust_env=False) as client:
        yield client


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with on_a_port(SERVICE) as upstream, proxied(upstream) as client:
        yield client


async def test_path_query_and_method_arrive_unchanged(client: httpx.AsyncClient) -> None:
    answer = (await client.put("/feedback/a%2Fb/å?x=1&x=%20", content=b"abc")).json()
    assert answer["path"] == "/feedback/a%2Fb/%C3%A5"
    assert (answer["query"], answer["method"], answer["size"]) == ("x=1&x=%20", "PUT", 3)


async def test_what_is_for_one_connection_or_made_up_about_the_client_stays_out(client: httpx.AsyncClient) -> None:
    sent = {
        "x-forwarded-host": "evil.example", "x-forwarded-port": "1", "forwarded": "for=10.0.0.1", "x-secret": "hop",
        "connection": "x-secret, keep-alive", "te": "trailers", "cookie": "medled_session=abc", "traceparent": "00-x",
        "tracestate": "a=b",
    }  # fmt: skip
    headers = (await client.get("/feedback/x", headers=sent)).json()["headers"]
    got: dict[str, list[str]] = {}
    for name, value in headers:
        got.setdefault(name, []).append(value)
    assert got["x-forwarded-for"] == ["127.0.0.1"]
    assert got["x-forwarded-proto"] == ["http"]
    assert got["host"] == got["x-forwarded-host"] == [client.base_url.netloc.decode()]
    assert got["cookie"] == ["medled_session=abc"]
    assert not {"x-secret", "te", "forwarded", "connection", "x-forwarded-port", "traceparent", "tracestate"} & set(got)


async def test_a_body_beyond_the_portals_own_limit_passes(client: httpx.AsyncClient) -> None:
    async def export() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65536

    assert (await client.post("/feedback/import", content=export())).json()["size"] == 40 * 65536
    assert (await client.post("/feedback/import", content=b"x" * 3_000_000)).json()["size"] == 3_000_000


async def test_a_get_is_not_given_a_body(client: httpx.AsyncClient) -> None:
    headers = dict((await client.get("/feedback/x")).json()["headers"])
    assert not {"transfer-encoding", "content-length"} & set(headers)


async def test_a_header_value_with_spaces_around_it_passes(client: httpx.AsyncClient) -> None:
    head, body = await exchange(
        str(client.base_url), b"GET /feedback/echo HTTP/1.1\r\nhost: here\r\nauthorization: Bearer \r\n\r\n"
    )

    assert head.startswith(b"HTTP/1.1 200 ")
    assert b'["authorization","Bearer"]' in body


async def test_answers_come_back_whole_with_every_cookie_and_no_redirect_followed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/feedback/cookies")
    assert (answer.status_code, answer.headers["location"]) == (303, "/feedback/elsewhere")
    assert len(answer.headers.get_list("set-cookie")) == 2
    answer = await client.get("/feedback/zipped")
    assert (answer.content, answer.headers["content-encoding"]) == (b"fika", "gzip")
    assert "x-inner" not in answer.headers


async def test_an_answer_streams_as_it_is_made(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(5), client.stream("GET", "/feedback/slowly") as answer:
        chunks = answer.aiter_text()
        assert await anext(chunks) == "first"


async def test_only_whole_first_parts_of_a_path_are_proxied(client: httpx.AsyncClient) -> None:
    assert (await client.get("/own")).text == "ours"
    assert (await client.get("/feedback")).text == "ours"
    assert (await client.get("/feedbackish/x")).status_code == 404


async def test_a_service_that_is_down_is_named_and_its_path_is_not_logged(settings: PortalSettings, pool: Pool) -> None:
    down = settings.model_copy(update={"upstreams": {"feedback": f"http://127.0.0.1:{free_port()}"}})
    with structlog.testing.capture_logs() as logs:
        async with portal_on_a_port(down, pool) as portal, portal.browser() as client:
            answer = await client.get("/feedback/r/secret-token")
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert answer.json()["type"].endswith("/problems/upstream-unavailable")
            page = await client.get("/feedback/r/secret-token", headers={"accept": "text/html"})
            assert "Den här delen svarar inte just nu" in page.text
    assert [entry["event"] for entry in logs] == ["proxy.unreachable"] * 2
    assert "secret-token" not in str(logs)


@asynccontextmanager
async def raw_server(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[str]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_service_that_hangs_up_is_a_bad_gateway(settings: PortalSettings, pool: Pool) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.close()

    async with raw_server(hang_up) as upstream:
        broken = settings.model_copy(update={"upstreams": {"feedback": upstream}})
        async with portal_on_a_port(broken, pool) as portal, portal.browser() as client:
            assert (await client.get("/feedback/x")).status_code == 502


async def test_two_hosts_are_the_clients_fault_and_no_service_hears_of_them(
    settings: PortalSettings, pool: Pool
) -> None:
    down = settings.model_copy(update={"upstreams": {"feedback": f"http://127.0.0.1:{free_port()}"}})
    async with portal_on_a_port(down, pool) as portal:
        head, body = await exchange(portal.origin, b"GET /feedback/ HTTP/1.1\r\nHost: one\r\nHost: two\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"/problems/invalid-host" in body


async def test_a_slash_added_by_the_service_behind_leads_to_the_portals_own_origin(
    settings: PortalSettings, pool: Pool
) -> None:
    async with on_a_port(PORTAL.create_api(settings)) as upstream:
        front = settings.model_copy(update={"upstreams": {"problems": upstream}})
        async with portal_on_a_port(front, pool) as portal, portal.browser() as client:
            answer = await client.get("/problems/not-found/", headers={"host": "evil.example"})
    assert (answer.status_code, answer.headers["location"]) == (307, "/problems/not-found")
