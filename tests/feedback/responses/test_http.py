"""Answering through a link: the page and the API, and everything that must not use a link up, or tell on its owner."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from services.feedback.responses.domain import InvitationState
from shared.events import Group
from shared.observability import telemetry
from shared.settings import Settings
from tests.feedback.house import House, answers, received
from tests.support.settings import make_settings

PAGE, API = "/feedback/r/{}", "/feedback/v1/responses/{}"
FORM = dict.fromkeys(answers(), "4")


@pytest.fixture
async def round_id(house: House) -> UUID:
    """A round that is open now, by the clock that the API goes by."""
    cause = received(house.milestone())
    await house.handle(cause, now=datetime.now(UTC))
    found: UUID = await house.pool.fetchval("select id from rounds where caused_by = $1", cause.id)
    return found


@pytest.fixture
async def tokens(house: House, round_id: UUID) -> dict[Group, list[str]]:
    return await house.tokens(round_id)


@pytest.fixture
async def peer(tokens: dict[Group, list[str]]) -> str:
    return tokens[Group.peer][0]


@pytest.fixture
async def untouched(house: House, round_id: UUID) -> AsyncIterator[None]:
    """Whatever the test does uses up no link and leaves no ballot."""
    yield
    assert await states(house) == {"issued": 10}
    assert await ballots(house) == 0


@pytest.fixture
def spans(tmp_path: Path) -> Iterator[Callable[[], list[str]]]:
    """The API's spans so far, one a line; to be asked for before `visitor`."""
    file = tmp_path / "spans.jsonl"
    running = telemetry.setup(make_settings(Settings, "postgresql://x", span_file=file), "feedback-api")

    def read() -> list[str]:
        running.tracer_provider.force_flush()
        return file.read_text().splitlines()

    yield read
    telemetry.teardown()


async def states(house: House) -> Counter[str]:
    return Counter(row["state"] for row in await house.pool.fetch("select state from links"))


async def ballots(house: House) -> int:
    count: int = await house.pool.fetchval("select count(*) from ballots")
    return count


# --- the page ---------------------------------------------------------------------------------------------------------


async def test_a_colleague_answers_on_the_page_without_signing_in(
    visitor: httpx.AsyncClient, house: House, peer: str
) -> None:
    page = await visitor.get(PAGE.format(peer))
    assert page.status_code == 200
    assert "Återkoppling till Anna Berg" in page.text
    assert page.text.count("<fieldset") == len(FORM)
    sent = await visitor.post(PAGE.format(peer), data=FORM)
    assert sent.status_code == 200
    assert "Tack för din återkoppling" in sent.text
    assert await states(house) == {"used": 1, "issued": 9}
    assert await ballots(house) == 1


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", [PAGE, PAGE + "/decline"])
async def test_looking_at_a_link_never_uses_it_up(
    visitor: httpx.AsyncClient, peer: str, method: str, path: str
) -> None:
    for _ in range(3):
        assert (await visitor.request(method, path.format(peer))).status_code == 200


@pytest.mark.usefixtures("untouched")
async def test_reading_the_form_over_the_api_uses_nothing_up(visitor: httpx.AsyncClient, peer: str) -> None:
    body = (await visitor.get(API.format(peer))).json()
    assert (body["subject_name"], body["group"], body["attributable"], body["k"]) == ("Anna Berg", "peer", False, 5)
    assert [question["id"] for question in body["questions"]] == sorted(FORM)


async def test_the_same_link_a_second_time_is_gone_and_says_so_kindly(
    visitor: httpx.AsyncClient, house: House, peer: str
) -> None:
    await visitor.post(PAGE.format(peer), data=FORM)
    for again in (await visitor.get(PAGE.format(peer)), await visitor.post(PAGE.format(peer), data=FORM)):
        assert again.status_code == 410
        assert "Länken är redan använd" in again.text or "This link has already been used" in again.text
    assert await ballots(house) == 1


async def test_the_same_link_twenty_times_at_once_gives_exactly_one_ballot(
    visitor: httpx.AsyncClient, house: House, peer: str
) -> None:
    body = {"answers": answers()}
    sent = await asyncio.gather(*(visitor.post(API.format(peer), json=body) for _ in range(20)))
    assert Counter(one.status_code for one in sent) == {201: 1, 410: 19}
    assert await ballots(house) == 1
    assert await states(house) == {"used": 1, "issued": 9}


async def test_everybody_answers_at_once_and_everybody_is_counted(
    visitor: httpx.AsyncClient, house: House, round_id: UUID, tokens: dict[Group, list[str]]
) -> None:
    links = [token for of in tokens.values() for token in of]
    sent = await asyncio.gather(*(visitor.post(API.format(token), json={"answers": answers()}) for token in links))
    assert {one.status_code for one in sent} == {201}
    await house.close(round_id)
    assert await house.pool.fetchval("select max(n) from cells where respondent_group = 'peer'") == 8


@pytest.mark.usefixtures("untouched")
async def test_a_slip_shows_the_form_again_with_the_answers_and_a_summary_that_leads_to_the_gap(
    visitor: httpx.AsyncClient, peer: str
) -> None:
    gap, *rest = FORM
    page = await visitor.post(PAGE.format(peer), data=dict.fromkeys(rest, "2"))
    assert page.status_code == 422
    assert f'href="#{gap}"' in page.text
    assert page.text.count("checked") == len(rest)
    assert page.text.count('class="field-error"') == 1


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("data", [{}, {"x" * 500: "1"}, FORM | {"improving.1": "6"}, FORM | {"improving.1": "<b>"}])
async def test_answers_that_do_not_fit_use_nothing_up(
    visitor: httpx.AsyncClient, peer: str, data: dict[str, str]
) -> None:
    page = await visitor.post(PAGE.format(peer), data=data)
    assert page.status_code == 422
    assert "<b>" not in page.text


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("key", ["\\ud800", "\\u0000", "improving.99"])
async def test_an_answer_to_no_question_is_refused_whatever_it_is_called(
    visitor: httpx.AsyncClient, peer: str, key: str
) -> None:
    sent = json.dumps({"answers": answers()})[:-2] + f', "{key}": 1}}}}'
    refused = await visitor.post(API.format(peer), content=sent, headers={"content-type": "application/json"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "answers." + json.loads(f'"{key}"')


async def test_what_a_browsers_helpers_add_to_the_form_is_not_the_respondents_mistake(
    visitor: httpx.AsyncClient, house: House, peer: str
) -> None:
    assert (await visitor.post(PAGE.format(peer), data=FORM | {"_autofill": "x"})).status_code == 200
    assert await ballots(house) == 1


async def test_declining_asks_first_and_then_uses_the_link_up_without_a_ballot(
    visitor: httpx.AsyncClient, house: House, peer: str
) -> None:
    asked = await visitor.get(PAGE.format(peer) + "/decline")
    assert f'href="/feedback/r/{peer}"' in asked.text
    declined = await visitor.post(PAGE.format(peer) + "/decline")
    assert "Du har avstått" in declined.text
    assert await states(house) == {"declined": 1, "issued": 9}
    assert (await visitor.post(PAGE.format(peer), data=FORM)).status_code == 410
    assert await ballots(house) == 0


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (InvitationState.expired, "This feedback round has ended"),
        (InvitationState.revoked, "This invitation has been withdrawn"),
        (InvitationState.declined, "You declined to answer"),
    ],
)
async def test_a_link_that_is_over_says_what_became_of_it(
    visitor: httpx.AsyncClient, house: House, peer: str, state: str, words: str
) -> None:
    await house.pool.execute("update links set state = $1", state)
    page = await visitor.get(PAGE.format(peer), params={"lang": "en"})
    assert (page.status_code, words in page.text) == (410, True)
    refused = await visitor.post(API.format(peer), json={"answers": answers()})
    assert (refused.status_code, refused.json()["type"]) == (410, f"http://127.0.0.1:8080/problems/link-{state}")


async def test_a_round_whose_time_is_up_takes_no_answers_even_before_it_is_closed(
    visitor: httpx.AsyncClient, house: House, peer: str
) -> None:
    await house.pool.execute("update rounds set closes_at = $1", datetime.now(UTC) - timedelta(seconds=1))
    assert (await visitor.post(PAGE.format(peer), data=FORM)).status_code == 410
    assert await ballots(house) == 0


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("token", ["x", "A" * 43, "A" * 300, "%00", "..%2f..", "åäö"])
async def test_a_link_that_never_was_is_not_known(visitor: httpx.AsyncClient, token: str) -> None:
    page = await visitor.get(PAGE.format(token))
    assert page.status_code in (404, 422)
    assert (await visitor.post(API.format(token), json={"answers": {}})).status_code in (404, 405, 422)


# --- what the form tells its respondent -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (Group.self, "Your own answers are shown to you"),
        (Group.manager, "will see your figures and know that they are yours"),
        (Group.peer, "only if at least 5 have answered"),
    ],
)
async def test_the_form_says_before_the_first_question_who_will_see_what(
    visitor: httpx.AsyncClient, tokens: dict[Group, list[str]], group: Group, words: str
) -> None:
    page = await visitor.get(PAGE.format(tokens[group][0]), params={"lang": "en"})
    assert page.text.index(words) < page.text.index("<fieldset")
    assert (await visitor.get(API.format(tokens[group][0]))).json()["attributable"] is (group is not Group.peer)


async def test_the_form_speaks_the_language_of_its_mail_and_can_be_switched_on_the_same_link(
    visitor: httpx.AsyncClient, peer: str
) -> None:
    """An older mail's link names none: then it is the browser's."""
    for asked in (
        {"params": {"lang": "en"}, "headers": {"accept-language": "sv"}},
        {"headers": {"accept-language": "en"}},
    ):
        page = await visitor.get(PAGE.format(peer), **asked)  # type: ignore[arg-type]  # of two kinds
        visitor.cookies.clear()
        assert '<html lang="en"' in page.text
    assert 'href="?lang=sv"' in page.text
    switched = await visitor.get(PAGE.format(peer), params={"lang": "sv"})
    assert '<html lang="sv"' in switched.text
    assert "Förebild" not in switched.text
    assert "Leda möten" in switched.text


async def test_every_page_behind_the_link_speaks_the_language_of_its_mail(
    visitor: httpx.AsyncClient, tokens: dict[Group, list[str]]
) -> None:
    one, other = tokens[Group.peer][:2]
    swedish = {"accept-language": "sv"}
    await visitor.get(PAGE.format(one), params={"lang": "en"}, headers=swedish)
    pages = [
        await visitor.post(PAGE.format(one), data={}, headers=swedish),
        await visitor.post(PAGE.format(one), data=FORM, headers=swedish),
        await visitor.get(PAGE.format(one), headers=swedish),
        await visitor.get(PAGE.format(other) + "/decline", headers=swedish),
        await visitor.post(PAGE.format(other) + "/decline", headers=swedish),
    ]
    assert [page.status_code for page in pages] == [422, 200, 410, 200, 200]
    assert all('<html lang="en"' in page.text for page in pages)


@pytest.mark.usefixtures("untouched")
async def test_a_form_that_is_too_large_is_refused_on_a_page_that_keeps_the_address(
    visitor: httpx.AsyncClient, peer: str
) -> None:
    page = await visitor.post(PAGE.format(peer), data=FORM | {"x": "x" * 70_000}, headers={"accept": "text/html"})
    assert (page.status_code, page.headers["referrer-policy"]) == (413, "no-referrer")
    assert peer not in page.text


# --- what a link must not leave behind --------------------------------------------------------------------------------


async def test_the_pages_address_goes_nowhere(visitor: httpx.AsyncClient, peer: str) -> None:
    for page in (await visitor.get(PAGE.format(peer)), await visitor.get(PAGE.format("unknown"))):
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["cache-control"] == "no-store"
        assert "http://" not in page.text.replace("http://www.w3.org", "")


async def test_a_form_from_a_page_without_referrer_is_taken(
    visitor: httpx.AsyncClient, house: House, peer: str
) -> None:
    """`no-referrer` makes browsers send `Origin: null`; the link itself is what nobody else has."""
    assert (await visitor.post(PAGE.format(peer), data=FORM, headers={"origin": "null"})).status_code == 200
    assert await ballots(house) == 1


async def test_neither_logs_nor_spans_nor_tables_hold_the_token_or_the_answers(
    spans: Callable[[], list[str]],
    visitor: httpx.AsyncClient,
    house: House,
    peer: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    headers = {"idempotency-key": "a-key-that-must-not-be-kept"}
    await visitor.post(PAGE.format(peer), data={"improving.1": "5"}, headers=headers)
    await visitor.post(API.format(peer), json={"answers": answers(5)}, headers=headers)
    await visitor.get(PAGE.format(peer))
    seen = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx")]
    seen += spans()
    assert any("/feedback/v1/responses/{token}" in line for line in seen)
    for table in await house.pool.fetch(
        "select table_name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'"
    ):
        seen += [str(dict(row)) for row in await house.pool.fetch(f'select * from "{table["table_name"]}"')]
    for line in seen:
        assert peer not in line
        assert "improving.1" not in line
        assert "must-not-be-kept" not in line


# --- the API ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"answers": None},
        {"answers": {}},
        {"answers": answers() | {"improving.1": 6}},
        {"answers": answers() | {"improving.1": "4"}},
        {"answers": answers() | {"improving.1": True}},
        {"answers": answers() | {"improving.9": 4}},
        {"answers": answers(), "name": "Anna"},
        [],
    ],
)
async def test_a_bad_body_is_a_problem_that_names_the_field_and_repeats_nothing(
    visitor: httpx.AsyncClient, peer: str, body: object
) -> None:
    refused = await visitor.post(API.format(peer), json=body)
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["errors"]
    assert all(error["field"] and error["remedy"] for error in problem["errors"])
    assert peer not in refused.text


@pytest.mark.usefixtures("untouched")
async def test_an_oversized_body_is_refused(visitor: httpx.AsyncClient, peer: str) -> None:
    huge = {"answers": answers() | {"x" * 2_000_000: 1}}
    assert (await visitor.post(API.format(peer), json=huge)).status_code == 413


async def test_declining_over_the_api(visitor: httpx.AsyncClient, house: House, peer: str) -> None:
    assert (await visitor.post(API.format(peer) + "/decline")).json() == {"state": "declined"}
    assert (await visitor.post(API.format(peer) + "/decline")).status_code == 410
    assert await states(house) == {"declined": 1, "issued": 9}
