"""What does not fit is refused in words that help, and what is our fault tells nothing of our inside."""

from collections.abc import AsyncIterator

import httpx
import pytest

from shared.http.app import MIB


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


async def test_openapi_describes_every_failure_as_problem_details(client: httpx.AsyncClient) -> None:
    document = (await client.get("/feedback/openapi.json")).json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len(operations) == 7
    for operation in operations:
        assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
        assert "422" not in operation["responses"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert "/health/live" not in document["paths"]
