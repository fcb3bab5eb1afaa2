import asyncio
import json
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from nacl.exceptions import CryptoError
from pydantic import SecretStr

from services.feedback.ballots.sealing import SEALED_BYTES
from services.feedback.responses.domain import LinkRefusedError
from services.feedback.rounds.actions import CLOSE, PRUNE
from services.feedback.settings import FeedbackSettings
from shared.clock import Clock
from shared.events import Group
from shared.timers import Timers
from tests.feedback.house import NOW, PRACTICES, House

LATER = NOW + timedelta(days=15)


async def answered_round(house: House, *, peers: int = 6, **changes: Any) -> UUID:
    """A round that self, manager and `peers` have answered: self 5, manager 2, peers 3 and 4 in turn."""
    round_id = await house.open_round(**changes)
    tokens = await house.tokens(round_id)
    await house.answer(tokens[Group.self][0], 5)
    await house.answer(tokens[Group.manager][0], 2)
    for number, token in enumerate(tokens[Group.peer][:peers]):
        await house.answer(token, 3 + number % 2)
    return round_id


async def test_closing_releases_what_may_be_shown_and_says_so_without_figures(house: House) -> None:
    round_id = await answered_round(house)
    await house.close(round_id)
    rows = await house.pool.fetch("select * from cells where practice = 'leading_meetings' order by respondent_group")
    assert [(row["respondent_group"], row["n"], str(row["mean"])) for row in rows] == [
        ("manager", 1, "2.0"), ("peer", 6, "3.5"), ("self", 1, "5.0"),
    ]  # fmt: skip
    assert (await house.events())[-2:] == ["round.closed", "results.released"]
    payloads = await house.pool.fetch("select payload from outbox order by seq desc limit 2")
    released, closed = (json.loads(row["payload"]) for row in payloads)
    assert closed.pop("reason") == "time"
    assert released == closed  # not even of which groups: of the manager's that would be who answered


async def test_one_answer_too_few_hides_the_peers(house: House) -> None:
    round_id = await answered_round(house, peers=4)
    await house.close(round_id)
    rows = await house.pool.fetch("select state, n, mean, low, high from cells where respondent_group = 'peer'")
    assert {tuple(row) for row in rows} == {("suppressed", None, None, None, None)}


async def test_a_round_with_nothing_to_show_is_withheld(house: House) -> None:
    round_id = await house.open_round()
    tokens = await house.tokens(round_id)
    for token in [*tokens[Group.self], *tokens[Group.peer][:4]]:
        await house.answer(token)
    await house.close(round_id)
    row = await house.pool.fetchrow("select state, reason from rounds where id = $1", round_id)
    assert row is not None
    assert tuple(row) == ("withheld", "too_few_answers")
    assert (await house.events())[-2:] == ["round.closed", "round.withheld"]
    assert await house.pool.fetchval("select count(*) from cells") == 0  # not even what they said of themselves


async def test_closing_destroys_key_and_ballots_and_forgets_whose_each_link_was_and_whether_it_was_used(
    house: House,
) -> None:
    round_id = await answered_round(house)
    unused = (await house.tokens(round_id))[Group.peer][7]
    await house.close(round_id)
    assert await house.pool.fetchval("select count(*) from ballots") == 0
    assert await house.pool.fetchval("select count(*) from rounds where wrapped_key is not null") == 0
    rows = await house.pool.fetch("select state from links")
    assert Counter(row["state"] for row in rows) == {"expired": 10}
    assert await house.pool.fetchval("select count(*) from invited") == 0
    with pytest.raises(LinkRefusedError, match="expired"):
        await house.answer(unused)


async def test_closing_twice_changes_nothing(house: House) -> None:
    round_id = await answered_round(house)
    await house.close(round_id)
    before = await house.pool.fetch("select * from cells order by 1, 2, 3"), await house.events()
    await house.close(round_id)
    assert (await house.pool.fetch("select * from cells order by 1, 2, 3"), await house.events()) == before


async def test_rounds_close_by_their_timer_many_at_once(house: House) -> None:
    rounds = [await answered_round(house, person_id=co_leader) for co_leader in house.peers]
    clock = Clock()
    timers = Timers(house.pool, clock, {CLOSE: house.closing.close})
    assert await timers.tick() >= len(rounds)  # the rounds were opened at a time long past
    states = await house.pool.fetch("select distinct state from rounds")
    assert [row["state"] for row in states] == ["released"]
    assert await house.pool.fetchval("select count(*) from timers where kind = $1", PRUNE) == len(rounds)


async def test_with_the_wrong_secret_a_round_stays_open_and_its_ballots_sealed(house: House) -> None:
    round_id = await answered_round(house)
    other = house.settings.model_copy(update={"ballot_secret": SecretStr("somebody else's secret, also long enough")})
    stranger = House(house.pool, other)
    with pytest.raises(CryptoError):
        await stranger.close(round_id)
    assert await house.pool.fetchval("select count(*) from ballots") == 8
    await house.close(round_id)
    assert await house.pool.fetchval("select state from rounds") == "released"


async def test_an_answer_that_races_with_closing_is_either_counted_or_refused(house: House) -> None:
    round_id = await answered_round(house, peers=5)
    late = (await house.tokens(round_id))[Group.peer][5:8]
    outcomes = await asyncio.gather(
        *(house.answer(token) for token in late[:2]),
        house.close(round_id),
        house.answer(late[2]),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert all(isinstance(outcome, LinkRefusedError) for outcome in refused)
    taken = 3 - len(refused)
    assert await house.pool.fetchval("select count(*) from ballots") == 0
    assert await house.pool.fetchval("select n from cells where respondent_group = 'peer' limit 1") == 5 + taken


# --- what somebody who holds a copy of the whole database can find ----------------------------------------------------


async def dump(house: House) -> dict[str, list[dict[str, object]]]:
    """Every row of every table."""
    tables = await house.pool.fetch(
        "select table_name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'"
    )
    return {
        row["table_name"]: [
            dict(one) for one in await house.pool.fetch(f'select *, xmin::text, ctid::text from "{row["table_name"]}"')
        ]
        for row in tables
    }


async def test_during_a_round_every_ballot_looks_alike_and_carries_no_time_and_no_person(house: House) -> None:
    await answered_round(house)
    ballots = (await dump(house))["ballots"]
    assert {len(ballot["sealed"]) for ballot in ballots} == {SEALED_BYTES}  # type: ignore[arg-type]  # bytes
    assert set(ballots[0]) == {"id", "round_id", "sealed", "xmin", "ctid"}
    assert {ballot["id"].version for ballot in ballots} == {4}  # type: ignore[attr-defined]  # UUIDs
    assert not any("at" in column.split("_") for column in (await dump(house))["links"][0])


async def test_answering_writes_to_no_table_but_ballots_and_links(house: House) -> None:
    round_id = await house.open_round()
    before = await dump(house)
    await house.answer((await house.tokens(round_id))[Group.peer][0])
    after = await dump(house)
    assert {name for name in after if after[name] != before[name]} == {"ballots", "links"}


async def test_after_closing_no_table_holds_a_rating_beyond_what_the_report_shows(house: House) -> None:
    """Peers too few to be shown, and a manager in clear: only the report's own figures are left, wherever one looks."""
    round_id = await house.open_round()
    tokens = await house.tokens(round_id)
    before = await dump(house)
    await house.answer(tokens[Group.self][0], 5)
    await house.answer(tokens[Group.manager][0], 2)
    for number, token in enumerate(tokens[Group.peer][:6]):  # of the second practice one too few could judge
        await house.answer(token, 3 + number % 2, practices=PRACTICES if number < 4 else PRACTICES[:1])
    await house.close(round_id)
    after = await dump(house)
    # Of these, `cells` alone can hold a figure; the others say that the round is over, and are compared by other tests.
    assert {name for name in after if after[name] != before[name]} == {
        "cells", "invited", "links", "outbox", "outbox_sequences", "rounds", "timers",
    }  # fmt: skip
    figures = ("practice", "respondent_group", "state", "n", "mean", "low", "high", "at_limit")
    assert set(after["cells"][0]) == {"round_id", *figures, "xmin", "ctid"}
    assert {tuple(None if row[name] is None else str(row[name]) for name in figures) for row in after["cells"]} == {
        ("leading_meetings", "self", "released", "1", "5.0", None, None, None),
        ("leading_meetings", "manager", "released", "1", "2.0", None, None, None),
        ("leading_meetings", "peer", "released", "6", "3.5", "2.9", "4.1", None),
        ("improving", "self", "released", "1", "5.0", None, None, None),
        ("improving", "manager", "released", "1", "2.0", None, None, None),
        ("improving", "peer", "suppressed", None, None, None, None, None),
    }  # fmt: skip


async def test_after_closing_no_column_joins_the_report_to_a_person_or_an_invitation(house: House) -> None:
    await answered_round(house)
    during = await dump(house)
    respondents = {str(one["respondent_id"]) for one in during["invited"]}
    used = {str(one["id"]) for one in during["invited"]} | {str(one["id"]) for one in during["ballots"]}
    transactions = {one["xmin"] for one in during["ballots"]}
    [round_id] = {str(one["round_id"]) for one in during["ballots"]}
    await house.close(UUID(round_id))
    after = await dump(house)
    for row in after["cells"]:
        text = json.dumps(row, default=str)
        assert not any(known in text for known in respondents | used)
        assert row["xmin"] not in transactions
    assert len({row["xmin"] for row in after["cells"]}) == 1
    assert after["invited"] == []


def test_a_worker_without_its_secrets_says_which_one_is_missing(feedback_settings: FeedbackSettings) -> None:
    bare = feedback_settings.model_copy(update={"ballot_secret": None})
    with pytest.raises(ValueError, match="MEDLED_BALLOT_SECRET"):
        _ = bare.secrets
