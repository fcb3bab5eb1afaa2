"""The edge, attacked from outside: what is not what it says, takes all the room, or claims to be somebody else's."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from deploy.services import SERVICES
from services.portal.settings import PortalSettings
from shared.events.vocabulary import Role
from shared.http.slow_requests import SLOWEST_BYTES_PER_SECOND
from shared.ids import new_id
from shared.observability import telemetry
from shared.postgres.pool import create_pool
from shared.security.authentication import optional_principal, principal
from shared.security.principal import Principal
from shared.settings import Settings
from tests.portal.serving import portal_on_a_port
from tests.support.databases import Databases
from tests.support.directory import add_machine
from tests.support.openapi import fitting, json_bodies, of_wrong_type, replaced
from tests.support.services import api_of
from tests.support.serving import client_of, on_a_port
from tests.support.settings import make_settings

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def open_to_anybody(service: str, **settings: Any) -> FastAPI:
    """A service's API without its database; whoever asks holds every role."""
    app = api_of(service, **settings)
    anybody = Principal("person", "person:x", new_id(), "X", roles=dict.fromkeys(Role))
    app.dependency_overrides |= {principal: lambda: anybody, optional_principal: lambda: anybody}
    return app


def wrong_bodies(app: FastAPI) -> Iterator[tuple[str, str, str, Any]]:
    """Method, path, the field at fault, and a body that fits but for it."""
    document = app.openapi()
    for method, path, schema in json_bodies(document):
        sound = fitting(document, schema)
        for place, value in of_wrong_type(document, schema):
            yield method, path, ".".join(map(str, place)), replaced(sound, place, value)


@pytest.mark.parametrize("service", SERVICES)
async def test_no_api_takes_a_value_of_one_json_type_for_another(service: str) -> None:
    app = open_to_anybody(service)
    taken: list[tuple[str, str, Any]] = []
    async with client_of(app) as client:
        for method, path, schema in json_bodies(app.openapi()):
            answer = await client.request(method, path, json=fitting(app.openapi(), schema))
            assert answer.status_code != 422, f"{method} {path} is not tried with what fits: {answer.text}"
        for method, path, field, body in wrong_bodies(app):
            answer = await client.request(method, path, json=body)
            named = [error["field"] for error in answer.json().get("errors", [])]
            if answer.status_code != 422 or not any(name.startswith(field or "body") for name in named):
                taken.append((f"{method} {path}", field, body))
            assert all(error["remedy"] for error in answer.json().get("errors", []))
    assert taken == []


@pytest.fixture
def spans(tmp_path: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Reporting into a file; what is in it so far."""
    file = tmp_path / "spans.jsonl"
    current = telemetry.setup(make_settings(Settings, NOWHERE, span_file=file, log_format="console"), "portal-api")

    def read() -> list[dict[str, Any]]:
        current.tracer_provider.force_flush()
        return [json.loads(line) for line in file.read_text().splitlines()]

    yield read
    telemetry.teardown()


FORGED = {"traceparent": f"00-{0xBAD:032x}-{0xBAD:016x}-01", "tracestate": "evil=1"}


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8", "127.0.0.1/32 ::1/128"])
async def test_a_forged_trace_is_linked_to_and_joined_only_from_a_trusted_proxy(
    spans: Callable[[], list[dict[str, Any]]], trusted: str
) -> None:
    app = open_to_anybody("portal", trusted_proxies=trusted)
    async with on_a_port(app) as origin, httpx.AsyncClient(base_url=origin, trust_env=False) as client:
        answer = await client.get("/login", headers=FORGED | {"x-forwarded-for": "127.0.0.1"})

    (span,) = [each for each in spans() if each["kind"] == "server"]
    is_trusted = trusted.startswith("127.")
    assert answer.headers["traceresponse"].split("-")[1] == span["trace_id"]
    assert (span["trace_id"] == f"{0xBAD:032x}") == is_trusted
    assert [link["trace_id"] for link in span["links"]] == ([] if is_trusted else [f"{0xBAD:032x}"])
    assert span["attributes"]["http.route"] == "/login"


async def test_a_service_behind_the_portal_joins_the_portals_trace_and_never_a_visitors(
    spans: Callable[[], list[dict[str, Any]]],
) -> None:
    async with on_a_port(open_to_anybody("feedback", trusted_proxies="127.0.0.1")) as upstream:
        portal = open_to_anybody("portal", upstreams={"feedback": upstream})
        async with on_a_port(portal) as origin, httpx.AsyncClient(base_url=origin, trust_env=False) as client:
            answer = await client.head("/feedback/openapi.json", headers=FORGED)

    front, behind = sorted(
        (each for each in spans() if each["kind"] == "server"), key=lambda each: each["parent_id"] is not None
    )
    assert answer.status_code == 200
    assert (front["parent_id"], behind["parent_id"]) == (None, front["span_id"])
    assert front["trace_id"] == behind["trace_id"] != f"{0xBAD:032x}"
    assert [link["trace_id"] for link in front["links"]] == [f"{0xBAD:032x}"]


async def open_and_say(origin: str, said: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = httpx.URL(origin)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(said)
    return reader, writer


SLOW_BODY = (
    b"POST /feedback/v1/responses/x HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000\r\n\r\n{"
)


async def test_slow_bodies_take_nothing_from_others_and_end_in_a_problem() -> None:
    async with on_a_port(open_to_anybody("feedback", body_seconds=1.5)) as upstream:
        portal = open_to_anybody("portal", upstreams={"feedback": upstream}, body_seconds=1.5)
        async with on_a_port(portal) as origin, httpx.AsyncClient(base_url=origin, trust_env=False) as client:
            slow = [await open_and_say(origin, SLOW_BODY) for _ in range(250)]
            try:
                answers = await asyncio.gather(*(client.get("/feedback/health/live") for _ in range(20)))
                assert {answer.status_code for answer in answers} == {200}
                async with asyncio.timeout(60):
                    ended = [await reader.read() for reader, _ in slow]
            finally:
                for _, writer in slow:
                    writer.close()

    assert {each.split(b"\r\n", 1)[0] for each in ended} == {b"HTTP/1.1 408 Request Timeout"}
    problem = json.loads(ended[0].partition(b"\r\n\r\n")[2])
    assert problem["type"].endswith("/problems/too-slow")
    assert problem["remedy"]


async def test_a_body_that_comes_at_a_fair_pace_has_the_time_it_needs() -> None:
    async def steadily() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b" " * SLOWEST_BYTES_PER_SECOND  # a second's worth
            await asyncio.sleep(0.1)

    async with (
        on_a_port(open_to_anybody("feedback", body_seconds=0.3)) as origin,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        answer = await client.post(
            f"{origin}/feedback/v1/responses/x", content=steadily(), headers={"content-type": "application/json"}
        )
    assert answer.status_code == 413  # read to the end of what this address takes, not cut off


@pytest.mark.parametrize(
    "said",
    [b"", b"GET / HT", b"GET /health/live HTTP/1.1\r\nHost: here\r\nX-Slow: ", b"\r\n",
     b"POST /health/live HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\nx"],
    ids=["nothing", "a line", "a head", "an empty line", "a body that nobody reads"],
)  # fmt: skip
async def test_a_connection_that_brings_no_whole_request_is_closed(said: bytes) -> None:
    async with on_a_port(open_to_anybody("feedback"), head_seconds=0.3) as origin:
        reader, writer = await open_and_say(origin, said)
        try:
            async with asyncio.timeout(30):  # the server would wait for ever
                while await reader.read(1000):
                    writer.write(b"x")
        except ConnectionResetError:
            pass
        finally:
            writer.close()


async def test_a_whole_head_in_time_is_not_hurried_afterwards() -> None:
    async with on_a_port(open_to_anybody("feedback"), head_seconds=0.3) as origin:
        reader, writer = await open_and_say(origin, b"GET /health/live HTTP/1.1\r\nHost: here\r\n")
        writer.write(b"\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.6)  # keep-alive is not a head's time
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).count(b"HTTP/1.1 200") == 1
        writer.close()


async def test_one_reader_takes_no_more_than_its_places_and_the_others_find_theirs(database: Databases) -> None:
    settings = make_settings(PortalSettings, await database("portal"), stream_readers_each=3, stream_readers=5)
    pool = await create_pool(settings, name="test")
    token = await add_machine(pool, "greedy", {Role.stream_reader: None})
    greedy = {"authorization": f"Bearer {token}"}
    units = [{"unit": str(new_id())} for _ in range(30)]
    async with portal_on_a_port(settings, pool) as portal, portal.browser() as client, AsyncExitStack() as streams:

        async def ask(params: dict[str, str]) -> httpx.Response:
            return await streams.enter_async_context(
                client.stream("GET", "/portal/v1/stream", params=params, headers=greedy)
            )

        answers = await asyncio.gather(*map(ask, units))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert (len(refused), len(answers) - len(refused)) == (27, 3)
        problem = json.loads(await refused[0].aread())
        assert problem["type"].endswith("/problems/too-many-streams")
        assert problem["remedy"]
        assert int(refused[0].headers["retry-after"]) > 0
        async with portal.browser("anna") as anna, anna.stream("GET", "/portal/v1/stream") as hers:
            assert hers.status_code == 200
        await streams.aclose()
        async with asyncio.timeout(30):
            while (await client.head("/portal/v1/stream", headers=greedy)).status_code != 200:
                await asyncio.sleep(0.05)  # the places are free as soon as the server sees that they are
    await pool.close()
