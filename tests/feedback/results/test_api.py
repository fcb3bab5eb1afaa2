"""Results over HTTP: the person a round is about reads them; nobody else learns that there is one."""

import csv
import io
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.feedback.reports.domain import PURPOSE
from shared.events import Group, Role
from shared.ids import new_id
from tests.feedback.house import NOW, House
from tests.support.directory import add_machine, grant
from tests.support.signing_in import signed_in

ROUNDS, RESULTS = "/feedback/v1/rounds", "/feedback/v1/rounds/{}/results"
PAGE, FILE = "/feedback/rounds/{}", "/feedback/rounds/{}/results.csv"
HTML = {"accept": "text/html"}


@pytest.fixture
async def released(house: House) -> UUID:
    """A closed round: self 5, manager 2, six peers 3 and 4 in turn."""
    round_id = await house.open_round()
    tokens = await house.tokens(round_id)
    await house.answer(tokens[Group.self][0], 5)
    await house.answer(tokens[Group.manager][0], 2)
    for number, token in enumerate(tokens[Group.peer][:6]):
        await house.answer(token, 3 + number % 2)
    await house.close(round_id)
    return round_id


def session(house: House, login: str, **changes: Any) -> dict[str, str]:
    """The cookie of somebody who signed in at the portal."""
    return signed_in(house.settings, login, **changes)


async def read(visitor: httpx.AsyncClient, path: str, headers: Mapping[str, str]) -> httpx.Response:
    return await visitor.get(path, headers=dict(headers))


# --- whom it is about -------------------------------------------------------------------------------------------------


async def test_the_co_leader_reads_figures_per_practice_and_group(
    house: House, visitor: httpx.AsyncClient, released: UUID
) -> None:
    body = (await read(visitor, RESULTS.format(released), session(house, "anna"))).json()
    assert (body["purpose"], body["k"], body["round"]["state"]) == (PURPOSE, 5, "released")
    figures = {(one["practice"], one["group"]): one for one in body["figures"]}
    assert len(figures) == 2 * 3
    peers = figures["leading_meetings", "peer"]
    assert (peers["state"], peers["n"], peers["mean"]) == ("released", 6, 3.5)
    assert peers["low"] < 3.5 < peers["high"]
    assert figures["improving", "manager"]["mean"] == 2.0
    assert figures["improving", "manager"]["low"] is None


async def test_of_a_group_too_small_nothing_is_said_but_that_it_is_hidden(
    house: House, visitor: httpx.AsyncClient
) -> None:
    round_id = await house.open_round()
    tokens = await house.tokens(round_id)
    for token in [*tokens[Group.manager], *tokens[Group.peer][:4]]:
        await house.answer(token)
    await house.close(round_id)
    body = (await read(visitor, RESULTS.format(round_id), session(house, "anna"))).json()
    hidden = [one for one in body["figures"] if one["group"] == "peer"]
    assert {one["hidden_because"] for one in hidden} == {"fewer_than_k"}
    assert {value for one in hidden for value in (one["n"], one["mean"], one["low"], one["high"])} == {None}
    assert {one["hidden_because"] for one in body["figures"] if one["group"] == "self"} == {"no_answer"}
    page = await read(visitor, PAGE.format(round_id), session(house, "anna"))
    assert page.text.count("Färre än 5 svar") == 2


async def test_an_open_round_shows_how_it_stands_and_no_figures(house: House, visitor: httpx.AsyncClient) -> None:
    round_id = await house.open_round()
    for token in (await house.tokens(round_id))[Group.peer][:5]:
        await house.answer(token)
    anna = session(house, "anna")
    body = (await read(visitor, RESULTS.format(round_id), anna)).json()
    assert (body["round"]["state"], body["round"]["answers"], body["figures"]) == ("open", "0", [])
    await house.count(round_id)
    body = (await read(visitor, RESULTS.format(round_id), anna)).json()
    assert (body["round"]["answers"], body["figures"]) == ("5-9", [])
    assert "5 till 9" in (await read(visitor, PAGE.format(round_id), anna)).text


async def test_a_withheld_round_says_why_and_shows_nothing_not_even_the_readers_own_answers(
    house: House, visitor: httpx.AsyncClient
) -> None:
    round_id = await house.open_round()
    await house.answer((await house.tokens(round_id))[Group.self][0])
    await house.close(round_id)
    anna = session(house, "anna")
    body = (await read(visitor, RESULTS.format(round_id), anna)).json()
    assert (body["round"]["state"], body["round"]["reason"], body["figures"]) == ("withheld", "too_few_answers", [])
    assert "För få svarade" in (await read(visitor, PAGE.format(round_id), anna)).text


async def test_rounds_are_listed_newest_first_and_paged(house: House, visitor: httpx.AsyncClient) -> None:
    opened = [await house.open_round() for _ in range(5)]
    anna = session(house, "anna")
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        address = f"{ROUNDS}?limit=2" + (f"&cursor={cursor}" if cursor else "")
        page = (await read(visitor, address, anna)).json()
        seen += [one["id"] for one in page["items"]]
        cursor = page["next"]
    assert seen == [str(one) for one in reversed(opened)]
    listed = (await read(visitor, "/feedback/", anna)).text
    places = [listed.index(str(one)) for one in reversed(opened)]
    assert places == sorted(places)


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "cursor=nonsense"])
async def test_a_wrong_page_is_a_problem_that_names_the_field(
    house: House, visitor: httpx.AsyncClient, query: str
) -> None:
    refused = await read(visitor, f"{ROUNDS}?{query}", session(house, "anna"))
    assert refused.status_code in (400, 422)
    [error] = refused.json()["errors"]
    assert error["field"] == query.partition("=")[0]
    assert error["remedy"]


async def test_the_file_says_in_every_row_what_it_may_be_used_for(
    house: House, visitor: httpx.AsyncClient, released: UUID
) -> None:
    file = await read(visitor, FILE.format(released), session(house, "anna"))
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert "development-only.csv" in file.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(file.text)))
    assert len(rows) == 6
    assert {row["purpose"] for row in rows} == {PURPOSE}


@pytest.mark.parametrize(("language", "words"), [("sv", "Leda möten"), ("en", "Leading meetings")])
async def test_the_page_shows_the_figures_in_the_readers_language(
    house: House, visitor: httpx.AsyncClient, released: UUID, language: str, words: str
) -> None:
    await house.pool.execute("update people set locale = $2 where id = $1", house.co_leader, language)
    page = await read(visitor, PAGE.format(released), session(house, "anna"))
    assert f'<html lang="{language}"' in page.text
    assert words in page.text
    assert ("3,5" if language == "sv" else "3.5") in page.text
    assert "n = 6" in page.text


# --- everybody else ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [RESULTS, PAGE, FILE])
@pytest.mark.parametrize("login", ["malin", "peer0", "office", "operator"])
async def test_nobody_else_finds_the_round_whatever_their_role(
    house: House, visitor: httpx.AsyncClient, released: UUID, path: str, login: str
) -> None:
    """The manager, a respondent, the programme office, an operator: the same answer as for a round that never was."""
    for name, role in (("office", Role.programme_office), ("operator", Role.operator)):
        person_id = new_id()
        await house.add_person(person_id, manager=None, name=name, login=name)
        await grant(house.pool, person_id, {role: None})
    theirs = await read(visitor, path.format(released), session(house, login))
    never = await read(visitor, path.format(new_id()), session(house, login))
    assert theirs.status_code == never.status_code == 404
    assert theirs.text.replace(str(released), "") == never.text.replace(str(never.url).rsplit("/", 1)[-1], "")
    assert (await read(visitor, ROUNDS, session(house, login))).json() == {"items": [], "next": None}


async def test_no_machine_reads_a_round_with_any_role(house: House, visitor: httpx.AsyncClient, released: UUID) -> None:
    token = await add_machine(house.pool, "everything", dict.fromkeys(Role))
    bearer = {"authorization": f"Bearer {token}"}
    assert (await read(visitor, RESULTS.format(released), bearer)).status_code == 404
    assert (await read(visitor, ROUNDS, bearer)).json()["items"] == []


@pytest.mark.parametrize(
    "forged",
    [{"seconds": -1}, {"iss": "https://somebody.else"}, {"sub": None}],
    ids=["ended", "of another issuer", "of nobody"],
)
async def test_a_session_that_does_not_hold_reads_nothing(
    house: House, visitor: httpx.AsyncClient, released: UUID, forged: dict[str, Any]
) -> None:
    cookie = session(house, "anna", **forged)
    refused = await read(visitor, RESULTS.format(released), cookie)
    assert (refused.status_code, refused.json()["type"]) == (401, "http://127.0.0.1:8080/problems/unauthenticated")
    page = await read(visitor, PAGE.format(released), cookie | HTML)
    assert page.status_code == 303
    assert page.headers["location"] == f"/login?next=%2Ffeedback%2Frounds%2F{released}"


@pytest.mark.parametrize("credentials", ["Bearer mlt_made-up", "Basic YTpi", "Bearer"])
async def test_credentials_that_do_not_hold_read_nothing(
    visitor: httpx.AsyncClient, released: UUID, credentials: str
) -> None:
    assert (await read(visitor, RESULTS.format(released), {"authorization": credentials})).status_code == 401


async def test_a_session_signed_with_another_secret_reads_nothing(
    house: House, visitor: httpx.AsyncClient, released: UUID
) -> None:
    stranger = House(house.pool, house.settings.model_copy(update={"session_secret": house.settings.link_secret}))
    assert (await read(visitor, RESULTS.format(released), session(stranger, "anna"))).status_code == 401


async def test_who_has_left_reads_nothing_more(house: House, visitor: httpx.AsyncClient, released: UUID) -> None:
    await house.pool.execute("update people set status = 'inactive' where id = $1", house.co_leader)
    assert (await read(visitor, RESULTS.format(released), session(house, "anna"))).status_code == 403


@pytest.mark.parametrize("round_id", ["not-a-uuid", "1", "0" * 36])
async def test_what_is_no_id_is_a_problem_that_names_the_field(
    house: House, visitor: httpx.AsyncClient, round_id: str
) -> None:
    refused = await read(visitor, RESULTS.format(round_id), session(house, "anna"))
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert error["field"] == "round_id"


async def test_time_alone_shows_nothing_before_the_round_is_closed(house: House, visitor: httpx.AsyncClient) -> None:
    round_id = await house.open_round()
    for token in (await house.tokens(round_id))[Group.peer]:
        await house.answer(token, now=NOW + timedelta(days=13))
    body = (await read(visitor, RESULTS.format(round_id), session(house, "anna"))).json()
    assert body["figures"] == []
