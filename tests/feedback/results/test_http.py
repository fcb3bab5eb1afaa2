"""Reading results: the person they are about, and nobody else, whatever their role."""

import csv
import io
from uuid import UUID

import httpx
import pytest

from shared.access import Role
from shared.events import Group
from shared.ids import new_id
from shared.web.locale import COOKIE as LANGUAGE
from shared.web.session import COOKIE, seal
from tests.feedback.house import House
from tests.support.directory import add_machine, grant

RESULTS, PAGE, CSV = "/feedback/v1/rounds/{}/results", "/feedback/rounds/{}", "/feedback/rounds/{}/results.csv"


def signed_in(house: House, login: str) -> dict[str, str]:
    """Headers of somebody who signed in at the portal and reads English."""
    claims = {"iss": house.settings.oidc_issuer, "sub": login, "name": login}
    return {"cookie": f"{COOKIE}={seal(house.settings, 'session', claims, seconds=60)}; {LANGUAGE}=en"}


async def closed_round(house: House, *, peers: int = 6, rating: int = 4) -> UUID:
    """Self 5, manager 2, and `peers` peers alternating around `rating`."""
    round_id = await house.open_round()
    tokens = await house.tokens(round_id)
    await house.answer(tokens[Group.self][0], 5)
    await house.answer(tokens[Group.manager][0], 2)
    for number, token in enumerate(tokens[Group.peer][:peers]):
        await house.answer(token, min(5, rating - number % 2))
    await house.close(round_id)
    return round_id


async def test_the_co_leader_reads_figures_with_n_interval_method_and_purpose(
    client: httpx.AsyncClient, house: House
) -> None:
    round_id = await closed_round(house)
    body = (await client.get(RESULTS.format(round_id), headers=signed_in(house, "anna"))).json()
    assert body["purpose"] == "development only"
    assert "Student's t" in body["method"]
    figures = {(figure["practice"], figure["group"]): figure for figure in body["figures"]}
    assert len(figures) == 6
    peers = figures["leading_meetings", "peer"]
    assert (peers["state"], peers["n"], peers["mean"]) == ("released", 6, 3.5)
    assert peers["low"] < 3.5 < peers["high"]
    manager = figures["improving", "manager"]
    assert (manager["n"], manager["mean"], manager["low"]) == (1, 2.0, None)


async def test_a_hidden_group_tells_why_and_not_how_many(client: httpx.AsyncClient, house: House) -> None:
    four, none = [await closed_round(house, peers=peers) for peers in (4, 0)]
    headers = signed_in(house, "anna")
    hidden = [
        [figure for figure in (await client.get(RESULTS.format(one), headers=headers)).json()["figures"]
         if figure["group"] == "peer"]
        for one in (four, none)
    ]  # fmt: skip
    assert hidden[0] == hidden[1]
    assert {figure["hidden_because"] for figure in hidden[0]} == {"fewer_than_k"}
    assert {(figure["n"], figure["mean"], figure["low"], figure["high"]) for figure in hidden[0]} == {(None,) * 4}


@pytest.mark.parametrize("address", [RESULTS, PAGE, CSV])
async def test_nobody_else_learns_even_that_the_round_exists(
    client: httpx.AsyncClient, house: House, address: str
) -> None:
    round_id = await closed_round(house)
    await grant(house.pool, house.peers[0], dict.fromkeys(Role))
    machine = await add_machine(house.pool, "Warehouse", dict.fromkeys(Role))
    strangers = [signed_in(house, "malin"), signed_in(house, "peer0"), signed_in(house, "peer1")]
    for headers in [*strangers, {"authorization": f"Bearer {machine}"}]:
        theirs = await client.get(address.format(round_id), headers=headers)
        nothing = await client.get(address.format(new_id()), headers=headers)
        assert (theirs.status_code, theirs.text) == (404, nothing.text)
    mine = await client.get(address.format(round_id), headers=signed_in(house, "anna"))
    assert mine.status_code == 200


@pytest.mark.parametrize("address", [RESULTS, PAGE, CSV, "/feedback/", "/feedback/v1/rounds"])
async def test_who_is_not_signed_in_reads_nothing(client: httpx.AsyncClient, house: House, address: str) -> None:
    round_id = await closed_round(house)
    assert (await client.get(address.format(round_id))).status_code == 401
    page = await client.get(address.format(round_id), headers={"accept": "text/html"})
    assert page.status_code == (401 if "/v1/" in address else 303)


async def test_an_open_round_shows_a_bucket_and_no_figure(client: httpx.AsyncClient, house: House) -> None:
    round_id = await house.open_round()
    for token in (await house.tokens(round_id))[Group.peer]:
        await house.answer(token)
    headers = signed_in(house, "anna")
    before = (await client.get(RESULTS.format(round_id), headers=headers)).json()
    assert (before["round"]["state"], before["round"]["answers"], before["figures"]) == ("open", "0", [])
    await house.count(round_id)
    after = (await client.get(RESULTS.format(round_id), headers=headers)).json()
    assert (after["round"]["answers"], after["figures"]) == ("5-9", [])
    assert "5 to 9" in (await client.get(PAGE.format(round_id), headers=headers)).text


async def test_a_withheld_round_says_why_and_shows_not_even_ones_own_view(
    client: httpx.AsyncClient, house: House
) -> None:
    round_id = await house.open_round()
    await house.answer((await house.tokens(round_id))[Group.self][0], 5)
    await house.close(round_id)
    headers = signed_in(house, "anna")
    body = (await client.get(RESULTS.format(round_id), headers=headers)).json()
    assert (body["round"]["state"], body["round"]["reason"], body["figures"]) == ("withheld", "too_few_answers", [])
    assert "Too few answered" in (await client.get(PAGE.format(round_id), headers=headers)).text


async def test_the_page_draws_intervals_and_shows_what_is_hidden_as_hidden(
    client: httpx.AsyncClient, house: House
) -> None:
    headers = signed_in(house, "anna")
    shown = (await client.get(PAGE.format(await closed_round(house)), headers=headers)).text
    assert shown.count('class="interval"') == 2
    assert "n = 6" in shown
    assert "never for appraisal, pay or selection" in shown
    hidden = (await client.get(PAGE.format(await closed_round(house, peers=4)), headers=headers)).text
    assert hidden.count("Fewer than 5 answers") == 2
    assert 'class="interval"' not in hidden


async def test_a_mean_at_the_end_of_the_scale_is_shown_as_at_least(client: httpx.AsyncClient, house: House) -> None:
    round_id = await house.open_round()
    for token in (await house.tokens(round_id))[Group.peer]:
        await house.answer(token, 5)
    await house.close(round_id)
    headers = signed_in(house, "anna")
    page = (await client.get(PAGE.format(round_id), headers=headers)).text
    assert "at least 4.8" in page
    assert "5.0" not in page


async def test_every_row_of_the_export_carries_its_purpose(client: httpx.AsyncClient, house: House) -> None:
    round_id = await closed_round(house)
    export = await client.get(CSV.format(round_id), headers=signed_in(house, "anna"))
    assert "development-only.csv" in export.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(export.text)))
    assert len(rows) == 6
    assert {row["purpose"] for row in rows} == {"development only"}


async def test_rounds_are_listed_to_their_subject_page_by_page_newest_first(
    client: httpx.AsyncClient, house: House
) -> None:
    rounds = [await house.open_round() for _ in range(5)]
    listed: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/feedback/v1/rounds", params=query, headers=signed_in(house, "anna"))).json()
        listed += [one["id"] for one in page["items"]]
        cursor = page["next"]
    assert cursor is None
    assert listed == [str(one) for one in reversed(rounds)]
    others = (await client.get("/feedback/v1/rounds", headers=signed_in(house, "malin"))).json()
    assert others == {"items": [], "next": None}


async def test_a_cursor_of_somewhere_else_is_refused(client: httpx.AsyncClient, house: House) -> None:
    refused = await client.get("/feedback/v1/rounds", params={"cursor": "nonsense"}, headers=signed_in(house, "anna"))
    assert (refused.status_code, refused.json()["type"].rsplit("/", 1)[1]) == (400, "invalid-cursor")


async def test_who_has_no_rounds_is_told_how_one_comes_about(client: httpx.AsyncClient, house: House) -> None:
    page = await client.get("/feedback/", headers=signed_in(house, "malin"))
    assert "No feedback yet" in page.text
    assert "by itself when you reach a milestone" in page.text


async def test_the_list_shows_how_each_round_stands(client: httpx.AsyncClient, house: House) -> None:
    released, running = await closed_round(house), await house.open_round()
    page = (await client.get("/feedback/", headers=signed_in(house, "anna"))).text
    assert f'href="/feedback/rounds/{released}"' in page
    assert f'href="/feedback/rounds/{running}"' in page
    assert "Results ready" in page
    assert "none yet" in page
    assert "/feedback/r/" not in page
