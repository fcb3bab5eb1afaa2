"""The co-leader's own pages: figures drawn with their uncertainty, and hidden ones shown as hidden."""

from uuid import UUID

import httpx
import pytest

from shared.events import Group, Practice
from shared.security.session import COOKIE
from shared.web.locale import COOKIE as LANGUAGE
from tests.feedback.house import House
from tests.support.signing_in import session_of

RESULTS, PAGE, CSV = "/feedback/v1/rounds/{}/results", "/feedback/rounds/{}", "/feedback/rounds/{}/results.csv"


def signed_in(house: House, login: str) -> dict[str, str]:
    """Headers of somebody who signed in at the portal and reads English."""
    return {"cookie": f"{COOKIE}={session_of(house.settings, login)}; {LANGUAGE}=en"}


async def closed_round(house: House, *, peers: int = 6, rating: int = 4) -> UUID:
    """Self 5, manager 2, and `peers` peers alternating around `rating`."""
    round_id = await house.open_round()
    tokens = await house.tokens(round_id)
    await house.answer(tokens[Group.self][0], 5)
    await house.answer(tokens[Group.manager][0], 2)
    for number, token in enumerate(tokens[Group.peer][:peers]):
        await house.answer(token, min(5, rating - number % 2))
    await house.close(round_id)
    house.let_practices_rest()
    return round_id


async def test_a_hidden_group_tells_why_and_not_how_many(visitor: httpx.AsyncClient, house: House) -> None:
    four, none = [await closed_round(house, peers=peers) for peers in (4, 0)]
    headers = signed_in(house, "anna")
    hidden = [
        [figure for figure in (await visitor.get(RESULTS.format(one), headers=headers)).json()["figures"]
         if figure["group"] == "peer"]
        for one in (four, none)
    ]  # fmt: skip
    assert hidden[0] == hidden[1]
    assert {figure["hidden_because"] for figure in hidden[0]} == {"fewer_than_k"}
    assert {(figure["n"], figure["mean"], figure["low"], figure["high"]) for figure in hidden[0]} == {(None,) * 4}


@pytest.mark.parametrize("address", [RESULTS, PAGE, CSV, "/feedback/", "/feedback/v1/rounds"])
async def test_who_is_not_signed_in_reads_nothing(visitor: httpx.AsyncClient, house: House, address: str) -> None:
    round_id = await closed_round(house)
    assert (await visitor.get(address.format(round_id))).status_code == 401
    page = await visitor.get(address.format(round_id), headers={"accept": "text/html"})
    assert page.status_code == (401 if "/v1/" in address else 303)


async def test_the_page_draws_intervals_and_shows_what_is_hidden_as_hidden(
    visitor: httpx.AsyncClient, house: House
) -> None:
    headers = signed_in(house, "anna")
    shown = (await visitor.get(PAGE.format(await closed_round(house)), headers=headers)).text
    assert shown.count('class="interval"') == 2
    assert "n = 6" in shown
    assert "never for appraisal, pay or selection" in shown
    hidden = (await visitor.get(PAGE.format(await closed_round(house, peers=4)), headers=headers)).text
    assert hidden.count("Fewer than 5 answers") == 2
    assert 'class="interval"' not in hidden


async def test_a_mean_at_the_end_of_the_scale_is_shown_as_at_least(visitor: httpx.AsyncClient, house: House) -> None:
    round_id = await house.open_round()
    for token in (await house.tokens(round_id))[Group.peer]:
        await house.answer(token, 5)
    await house.close(round_id)
    headers = signed_in(house, "anna")
    page = (await visitor.get(PAGE.format(round_id), headers=headers)).text
    assert "at least 4.8" in page
    assert "5.0" not in page


async def test_a_round_that_was_not_opened_says_why_on_its_page(visitor: httpx.AsyncClient, house: House) -> None:
    await house.open_round()
    resting = await house.open_round()
    await house.pool.execute("update people set email = null")
    changed = await house.open_round(practices=(Practice.role_modelling,))
    await house.let_it_last()
    nobody = await house.open_round(practices=(Practice.mobilising,))
    headers = signed_in(house, "anna")
    assert (
        "answered the same questions about you recently"
        in (await visitor.get(PAGE.format(resting), headers=headers)).text
    )
    assert (
        "have recently left or changed email address" in (await visitor.get(PAGE.format(changed), headers=headers)).text
    )
    assert (
        "too few people around you for their answers" in (await visitor.get(PAGE.format(nobody), headers=headers)).text
    )
    assert (await visitor.get(RESULTS.format(resting), headers=headers)).json()["figures"] == []


async def test_who_has_no_rounds_is_told_how_one_comes_about(visitor: httpx.AsyncClient, house: House) -> None:
    page = await visitor.get("/feedback/", headers=signed_in(house, "malin"))
    assert "No feedback yet" in page.text
    assert "automatically when you reach a milestone" in page.text


async def test_the_list_shows_how_each_round_stands(visitor: httpx.AsyncClient, house: House) -> None:
    released, running = await closed_round(house), await house.open_round()
    page = (await visitor.get("/feedback/", headers=signed_in(house, "anna"))).text
    assert f'href="/feedback/rounds/{released}"' in page
    assert f'href="/feedback/rounds/{running}"' in page
    assert "Results ready" in page
    assert "none yet" in page
    assert "/feedback/r/" not in page
