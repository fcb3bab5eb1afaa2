"""What every service's HTTP side does: problems, limits, Idempotency-Key, health, headers, paging."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Query, UploadFile
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from services.feedback.service import SERVICE
from shared.errors import ProblemError
from shared.http.app import MIB, Api, create_app
from shared.http.idempotency import change, digest_of
from shared.http.pagination import Cursor, Limit, Page, decode_cursor, encode_cursor, fetch_page
from shared.http.request import pool
from shared.ids import new_id
from shared.security.principal import Principal
from shared.settings import Settings
from tests.support.databases import Databases
from tests.support.serving import client_of, exchange, on_a_port
from tests.support.settings import make_settings

router = APIRouter(prefix="/feedback/v1")
pages = APIRouter(prefix="/feedback")


class Note(BaseModel):
    """A small thing to post."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field(max_length=20)
    places: int = Field(default=1, ge=1)
    cohort_id: UUID | None = None


def somebody(request: Request) -> Principal:
    return Principal("person", request.headers.get("x-who", "person:anna"), new_id(), "Anna")


@router.post("/notes", status_code=201)
async def make_note(request: Request, note: Note) -> Response:
    async with change(request, somebody(request), status=201) as tx:
        await tx.conn.execute("insert into units (id, name) values ($1, $2)", new_id(), note.title)
        if note.title == "refused":
            raise ProblemError(409, "not-now", "Not now", "It cannot be done now.", remedy="Wait.")
        if note.title == "slow":
            await asyncio.sleep(0.2)
        count = await tx.conn.fetchval("select count(*) from units")
        return tx.answer({"count": count, "at": tx.now}, headers={"location": "/feedback/v1/notes/1"})


@router.post("/notes/{note_id}/close", status_code=204)
async def close_note(request: Request, note_id: int) -> Response:
    async with change(request, somebody(request), status=204) as tx:
        await tx.conn.execute("insert into units (id, name) values ($1, $2)", new_id(), f"closed {note_id}")
        return tx.answer(None)


@router.post("/uploads", max_body_size=4 * MIB)
async def upload(request: Request, file: UploadFile) -> Response:
    said = digest_of(request, await file.read())
    async with change(request, somebody(request), said=said) as tx:
        await tx.conn.execute("insert into units (id, name) values ($1, 'upload')", new_id())
        return tx.answer({"size": file.size})


@router.get("/notes")
async def notes(request: Request, limit: Limit = 2, cursor: Cursor = None) -> Page[str]:
    (after,) = decode_cursor(cursor, str) if cursor else ("",)
    query = "select name from units where name > $1 order by name limit $2"
    async with pool(request).acquire() as conn:
        return await fetch_page(conn, query, after, limit=limit, item=lambda row: str(row["name"]), by=["name"])


@router.get("/echo")
async def echo(request: Request, text: Annotated[str, Query()]) -> Any:
    return await pool(request).fetchval("select $1::text", text)


@router.get("/broken")
async def broken() -> None:
    raise RuntimeError("the password is hunter2")


@router.get("/careless")
async def careless(request: Request) -> None:
    await pool(request).fetch("select 1", 2)


@pages.get("/broken", include_in_schema=False)
async def broken_page() -> None:
    raise RuntimeError("the password is hunter2")


def an_app(dsn: str, **settings: Any) -> FastAPI:
    return create_app(
        make_settings(Settings, dsn, **settings),
        SERVICE,
        Api(title="Test", description="", routers=[router, pages]),
    )


@pytest.fixture
async def app(database: Databases) -> FastAPI:
    return an_app(await database("feedback"))


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


async def names(app: FastAPI) -> list[str]:
    return [row["name"] for row in await app.state.pool.fetch("select name from units order by id")]


async def test_a_request_that_does_not_fit_names_each_field_and_what_to_do(client: httpx.AsyncClient) -> None:
    sent = {"titel": "x", "places": 0, "cohort_id": "secret-value-of-mine"}
    answer = await client.post("/feedback/v1/notes", json=sent)
    problem = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "http://127.0.0.1:8080/problems/invalid-request"
    assert {error["field"]: error["remedy"] for error in problem["errors"]} == {
        "title": "Add it.",
        "titel": "Remove it: it is not known here.",
        "places": "Send 1 or more.",
        "cohort_id": "Send a UUID, such as 0198c0de-0000-7000-8000-000000000001.",
    }
    assert "secret-value" not in answer.text


async def test_of_a_request_that_is_at_fault_in_thousands_of_places_the_first_hundred_are_named(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/feedback/v1/notes", json={"title": "x"} | {f"f{n}": 1 for n in range(60_000)})
    problem = answer.json()
    assert (answer.status_code, len(problem["errors"])) == (422, 100)
    assert "in 60000 places" in problem["detail"]
    assert "not the other 59900" in problem["detail"]


@pytest.mark.parametrize(
    ("content", "content_type", "field"),
    [
        (b'{"title": ', "application/json", "body"),
        (b"[]", "application/json", "body"),
        (b"", "application/json", "body"),
        (b'"\xff"', "application/json", None),
        (b"title=x", "application/x-www-form-urlencoded", "body"),
        (b"[" * 100_000, "application/json", None),
    ],
)
async def test_a_body_that_is_none_is_told_so(
    client: httpx.AsyncClient, content: bytes, content_type: str, field: str | None
) -> None:
    answer = await client.post("/feedback/v1/notes", content=content, headers={"content-type": content_type})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    if field:
        assert answer.json()["errors"][0]["field"] == field


async def test_an_unknown_address_and_a_wrong_method_are_problems_too(client: httpx.AsyncClient) -> None:
    unknown = await client.get("/feedback/v1/nowhere")
    wrong = await client.delete("/feedback/v1/notes")
    assert (unknown.status_code, unknown.json()["type"][-10:]) == (404, "/not-found")
    assert wrong.status_code == 405
    assert set(wrong.headers["allow"].split(", ")) & {"GET", "POST"}
    assert {unknown.headers["content-type"], wrong.headers["content-type"]} == {"application/problem+json"}


async def test_a_body_over_the_limit_is_refused_whether_its_length_was_announced_or_not(
    client: httpx.AsyncClient,
) -> None:
    async def in_parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    headers = {"content-type": "application/json"}
    announced = await client.post("/feedback/v1/notes", content=b"x" * (MIB + 1), headers=headers)
    streamed = await client.post("/feedback/v1/notes", content=in_parts(), headers=headers)
    assert announced.status_code == streamed.status_code == 413
    nothing_read = await client.get("/feedback/v1/notes", headers={"content-length": str(2 * MIB)})
    assert (nothing_read.status_code, nothing_read.json()["title"]) == (413, "Too large")
    assert nothing_read.headers["x-content-type-options"] == "nosniff"
    assert announced.json()["type"] == streamed.json()["type"] == "http://127.0.0.1:8080/problems/too-large"


async def test_a_route_may_take_more_than_the_others(client: httpx.AsyncClient) -> None:
    taken = await client.post("/feedback/v1/uploads", files={"file": b"x" * 2 * MIB})
    refused = await client.post("/feedback/v1/uploads", files={"file": b"x" * 5 * MIB})
    assert (taken.status_code, refused.status_code) == (200, 413)


async def test_a_fault_of_ours_tells_nothing_of_our_inside(client: httpx.AsyncClient) -> None:
    answer = await client.get("/feedback/v1/broken")
    page = await client.get("/feedback/broken", headers={"accept": "text/html", "accept-language": "en"})
    careless = await client.get("/feedback/v1/careless")
    assert (answer.status_code, page.status_code, careless.status_code) == (500, 500, 500)
    assert "hunter2" not in answer.text + page.text
    assert "Something went wrong on our side" in page.text
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_character_that_postgres_cannot_store_is_the_senders_matter(client: httpx.AsyncClient) -> None:
    answer = await client.get("/feedback/v1/echo", params={"text": "a\0b"})
    assert (answer.status_code, answer.json()["type"][-16:]) == (422, "/invalid-request")


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


KEY = {"idempotency-key": "0198c0de-0000-7000-8000-000000000001"}


async def test_the_same_key_and_body_give_the_first_answer_again_and_do_nothing(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    first = await client.post("/feedback/v1/notes", json={"title": "one"}, headers=KEY)
    again = await client.post("/feedback/v1/notes", json={"title": "one"}, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert again.headers["location"] == "/feedback/v1/notes/1"
    assert again.headers["idempotent-replayed"] == "true"
    assert await names(app) == ["one"]


async def test_the_same_key_with_another_body_or_query_is_refused(app: FastAPI, client: httpx.AsyncClient) -> None:
    await client.post("/feedback/v1/notes", json={"title": "one"}, headers=KEY)
    other = await client.post("/feedback/v1/notes", json={"title": "two"}, headers=KEY)
    query = await client.post("/feedback/v1/notes?dry=1", json={"title": "one"}, headers=KEY)
    assert other.status_code == query.status_code == 422
    assert other.json()["type"].endswith("/problems/idempotency-key-reused")
    assert await names(app) == ["one"]


async def test_a_key_is_ones_own_and_for_one_address(app: FastAPI, client: httpx.AsyncClient) -> None:
    await client.post("/feedback/v1/notes", json={"title": "one"}, headers=KEY)
    await client.post("/feedback/v1/notes", json={"title": "one"}, headers=KEY | {"x-who": "person:bo"})
    closed = [await client.post(f"/feedback/v1/notes/{note}/close", headers=KEY) for note in (1, 1, 2)]
    assert [(answer.status_code, answer.content) for answer in closed] == [(204, b"")] * 3
    assert await names(app) == ["one", "one", "closed 1", "closed 2"]


async def test_a_refused_request_leaves_nothing_and_its_key_free(app: FastAPI, client: httpx.AsyncClient) -> None:
    refused = await client.post("/feedback/v1/notes", json={"title": "refused"}, headers=KEY)
    assert (refused.status_code, refused.json()["remedy"]) == (409, "Wait.")
    assert await names(app) == []
    assert (await client.post("/feedback/v1/notes", json={"title": "one"}, headers=KEY)).status_code == 201


async def test_two_at_once_with_one_key_are_done_once_and_answered_alike(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    post = [client.post("/feedback/v1/notes", json={"title": "slow"}, headers=KEY) for _ in range(8)]
    answers = await asyncio.gather(*post)
    assert {answer.content for answer in answers} == {answers[0].content}
    assert {answer.status_code for answer in answers} == {201}
    assert await names(app) == ["slow"]


async def test_a_request_says_what_its_endpoint_takes_it_to_say(app: FastAPI, client: httpx.AsyncClient) -> None:
    def send(content: bytes) -> Any:
        return client.post("/feedback/v1/uploads", files={"file": content}, headers=KEY)  # with a boundary of its own

    answers = [await send(b"x" * MIB), await send(b"x" * MIB), await send(b"y" * MIB)]
    assert [answer.status_code for answer in answers] == [200, 200, 422]
    assert await names(app) == ["upload"]


async def test_a_key_that_is_none_is_refused_and_an_old_one_is_forgotten(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    for key in ("", "two words", "x" * 256):
        answer = await client.post("/feedback/v1/notes", json={"title": "x"}, headers={"idempotency-key": key})
        assert (answer.status_code, answer.json()["type"][-24:]) == (400, "/invalid-idempotency-key")
    await client.post("/feedback/v1/notes", json={"title": "one"}, headers=KEY)
    await app.state.pool.execute("update idempotency_keys set created_at = created_at - interval '8 days'")
    assert (await client.post("/feedback/v1/notes", json={"title": "two"}, headers=KEY)).status_code == 201
    assert await names(app) == ["one", "two"]


async def test_a_list_is_walked_by_cursor_to_its_end(app: FastAPI, client: httpx.AsyncClient) -> None:
    await app.state.pool.execute(
        "insert into units (id, name) select gen_random_uuid(), 'n' || i from generate_series(1, 5) i"
    )
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        page = (await client.get("/feedback/v1/notes", params={"cursor": cursor} if cursor else {})).json()
        seen += page["items"]
        cursor = page["next"]
    assert (seen, cursor) == (["n1", "n2", "n3", "n4", "n5"], None)
    just_full = (await client.get("/feedback/v1/notes", params={"limit": 5})).json()
    assert just_full == {"items": seen, "next": None}


@pytest.mark.parametrize(
    "cursor", ["nonsense", "W10", "e30", "MQ", "WyJhIiwgImIiXQ", "%00", "bnVsbA", "WyJcdWQ4MDAiXQ"]
)
async def test_a_cursor_of_somewhere_else_is_a_problem(client: httpx.AsyncClient, cursor: str) -> None:
    answer = await client.get("/feedback/v1/notes", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "cursor")


def test_a_cursor_gives_back_what_it_was_made_of() -> None:
    unit = new_id()
    assert decode_cursor(encode_cursor(unit, 7, "å/+"), UUID, int, str) == (unit, 7, "å/+")


async def test_openapi_describes_every_failure_as_problem_details(client: httpx.AsyncClient) -> None:
    document = (await client.get("/feedback/openapi.json")).json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len(operations) == 7
    for operation in operations:
        assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
        assert "422" not in operation["responses"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert "/health/live" not in document["paths"]


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
