"""The same key and body are done once and answered alike."""

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI

from shared.http.app import MIB
from tests.shared.http.notes import names

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
