"""Lists are walked by cursors, which hold what they were made of."""

from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from shared.http.pagination import decode_cursor, encode_cursor
from shared.ids import new_id


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
