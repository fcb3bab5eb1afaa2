"""Whoever may send HR files chooses neither whom a round asks nor with whom somebody's answers are mixed (ADR 0004)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.feedback.rounds.actions import CLOSE
from services.feedback.settings import FeedbackSettings
from shared.directory import handlers as directory
from shared.events import Bucket, Group, PersonState
from shared.ids import random_id
from shared.messaging.handler import Received
from shared.postgres.pool import create_pool
from shared.postgres.transaction import transaction
from shared.security.invitation_tokens import token_for
from tests.feedback.house import NOW, SECRETS, House, received
from tests.support.databases import Databases
from tests.support.settings import make_settings

A_MOMENT = timedelta(seconds=5)
LONG_AGO = NOW - timedelta(days=400)
PEERS = 7


@dataclass
class Importer:
    """HR's files as feedback hears of them: full states, each with the moment it was made."""

    house: House
    people: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    sent: int = 0

    async def send(self, at: datetime, changes: dict[UUID, dict[str, Any]]) -> None:
        """One file: what it changes of whom."""
        for person, change in changes.items():
            self.people[person] = self.people.get(person, self._newcomer(person)) | change
        self.sent += 1
        events = [await self._event(person, at) for person in changes]
        async with transaction(self.house.pool) as conn:  # as the worker's handlers, in their order
            await directory.keep_people(conn, events, at)
            await self.house.rounds.follow_people(conn, events, at)
        self.house.now = at

    async def _event(self, person: UUID, at: datetime) -> Received[Any]:
        event = received(PersonState.model_validate(self.people[person]), sequence=self.sent)
        event.time = at
        return event

    def _newcomer(self, person: UUID) -> dict[str, Any]:
        return {
            "person_id": person, "employee_id": person.hex, "given_name": "A", "family_name": "B",
            "email": f"{person.hex}@example.org", "unit_id": self.house.unit, "manager_id": self.house.manager,
            "status": "active", "locale": "sv", "time_zone": "Europe/Stockholm",
        }  # fmt: skip

    async def organisation(self, at: datetime) -> None:
        """The first file of all: manager, co-leader and PEERS colleagues."""
        house = self.house
        house.peers = [random_id() for _ in range(PEERS)]
        await self.send(
            at, {house.manager: {"manager_id": None}} | {one: {} for one in (house.co_leader, *house.peers)}
        )


@pytest.fixture
async def importer(database: Databases) -> AsyncIterator[Importer]:
    settings = make_settings(FeedbackSettings, await database("feedback"), **SECRETS)
    pool = await create_pool(settings, name="test")
    yield Importer(House(pool, settings))
    await pool.close()


async def asked(house: House) -> set[UUID] | str:
    """Whom a round asks as peers that opens now, or why none does."""
    round_id = await house.open_round()
    reason: str | None = await house.pool.fetchval("select reason from rounds where id = $1", round_id)
    if reason is not None:
        return reason
    rows = await house.pool.fetch(
        "select respondent_id from invited where round_id = $1 and respondent_group = 'peer'", round_id
    )
    return {row["respondent_id"] for row in rows}


def invented(number: int) -> dict[UUID, dict[str, Any]]:
    return {random_id(): {} for _ in range(number)}


@pytest.mark.parametrize("begins", [LONG_AGO, NOW - A_MOMENT], ids=["long known", "on the first day"])
@pytest.mark.parametrize(
    "away",
    [{"status": "on_leave"}, {"manager_id": None}, {"unit_id": random_id(), "manager_id": random_id()}],
    ids=["on leave", "without manager", "elsewhere"],
)
async def test_leave_moves_and_people_made_up_change_nobody_whom_a_round_asks(
    importer: Importer, begins: datetime, away: dict[str, Any]
) -> None:
    """The attack: of seven colleagues six are sent away and four are made up, so that one true answer remains."""
    house = importer.house
    await importer.organisation(begins)
    await importer.send(NOW, dict.fromkeys(house.peers[1:], away) | invented(4))
    assert await asked(house) == set(house.peers)


async def test_without_the_rule_the_same_files_leave_one_true_answer_among_made_up_ones(importer: Importer) -> None:
    """What the other tests keep from happening: with no time to be known for, the attack works."""
    house = importer.house
    house.settings = house.settings.model_copy(update={"feedback_known_days": 0})
    house.__post_init__()
    await importer.organisation(LONG_AGO)
    made_up = invented(4)
    await importer.send(NOW, {peer: {"status": "on_leave"} for peer in house.peers[1:]} | made_up)
    assert await asked(house) == {house.peers[0], *made_up}


async def test_a_manager_made_up_for_the_co_leader_brings_no_team_of_theirs(importer: Importer) -> None:
    house = importer.house
    await importer.organisation(LONG_AGO)
    stranger = random_id()
    team = {person: {"manager_id": stranger} for person in invented(6)}
    await importer.send(
        NOW, {stranger: {}, house.co_leader: {"manager_id": stranger}, house.peers[0]: {"manager_id": stranger}} | team
    )
    assert await asked(house) == set(house.peers)
    managers = await house.pool.fetch("select respondent_id from invited where respondent_group = 'manager'")
    assert [row["respondent_id"] for row in managers] == [house.manager]


async def test_whoever_is_sent_away_and_brought_back_was_never_away(importer: Importer) -> None:
    """Restored after five seconds, on the very day that counts four weeks later."""
    house = importer.house
    await importer.organisation(LONG_AGO)
    made_up = invented(4)
    await importer.send(NOW - timedelta(days=28), {peer: {"status": "inactive"} for peer in house.peers[1:]} | made_up)
    back = {peer: {"status": "active"} for peer in house.peers[1:]}
    gone = {person: {"status": "inactive"} for person in made_up}
    await importer.send(NOW - timedelta(days=28) + A_MOMENT, back | gone)
    await importer.send(NOW, {})
    assert await asked(house) == set(house.peers)


@pytest.mark.parametrize(
    "lost",
    [{"status": "inactive"}, {"email": None}, {"email": "attacker@example.org"}],
    ids=["left", "without address", "with another's address"],
)
async def test_a_round_is_withheld_rather_than_narrowed_to_those_whom_a_file_left(
    importer: Importer, lost: dict[str, Any]
) -> None:
    house = importer.house
    await importer.organisation(LONG_AGO)
    await importer.send(NOW, dict.fromkeys(house.peers[2:4], lost) | invented(4))
    assert await asked(house) == "team_changed"
    restored = importer.people[house.peers[2]] | {"status": "active", "email": f"{house.peers[2].hex}@example.org"}
    await importer.send(NOW + A_MOMENT, {house.peers[2]: restored})
    assert await asked(house) == set(house.peers) - {house.peers[3]}  # one of seven may leave


async def test_who_joins_is_asked_when_the_team_has_known_them(importer: Importer) -> None:
    house = importer.house
    await importer.organisation(LONG_AGO)
    newcomer = invented(1)
    await importer.send(NOW, newcomer)
    for days, knows in ((27, set()), (28, set(newcomer))):
        await importer.send(NOW + timedelta(days=days), {})
        assert await asked(house) == set(house.peers) | knows
        await house.pool.execute(
            "update rounds set state = 'withheld', reason = 'x', closed_on = now(), wrapped_key = null"
        )


async def test_a_co_leader_who_has_just_come_is_not_asked_about(importer: Importer) -> None:
    house = importer.house
    await importer.organisation(LONG_AGO)
    house.co_leader = random_id()
    await importer.send(NOW, {house.co_leader: {}})
    assert await asked(house) == "not_known_yet"


async def test_of_a_small_team_the_unit_that_joins_in_is_the_one_long_known(importer: Importer) -> None:
    house = importer.house
    await importer.organisation(LONG_AGO)
    apart = {peer: {"manager_id": random_id()} for peer in house.peers[3:]}
    await importer.send(LONG_AGO + timedelta(days=1), apart)
    await importer.send(NOW, {peer: {"unit_id": random_id()} for peer in house.peers[3:]} | invented(4))
    assert await asked(house) == {*house.peers, house.manager} - {house.manager}


async def test_what_was_is_forgotten_when_it_counts_no_longer(importer: Importer) -> None:
    house = importer.house
    await importer.organisation(LONG_AGO)
    await importer.send(NOW, {peer: {"manager_id": None} for peer in house.peers})
    count = "select count(*) from standings"
    assert await house.pool.fetchval(count) == 2 + 2 * PEERS
    await importer.send(NOW + timedelta(days=57), {house.manager: {"status": "on_leave"}})
    assert await house.pool.fetchval(count) == 2 + PEERS + 1


@pytest.mark.parametrize("answered", [True, False])
async def test_sending_everybody_away_but_one_after_a_round_has_opened_does_not_tell_whether_that_one_answers(
    importer: Importer, answered: bool
) -> None:
    """The attack: nobody else can answer any more, so that the next count, or an early end, tells of the one."""
    house = importer.house
    await importer.organisation(LONG_AGO)
    house.now = NOW
    round_id = await house.open_round(groups=(Group.peer,))
    target = token_of(house, await house.pool.fetchval(_INVITATION_OF, house.peers[0]))
    for at, status in ((A_MOMENT, "inactive"), (2 * A_MOMENT, "active")):
        await importer.send(NOW + at, {peer: {"status": status} for peer in house.peers[1:]})
    if answered:
        await house.answer(target)
    before = await house.events()
    for hours in range(1, 50):
        await house.count(round_id, now=NOW + timedelta(hours=hours))
    assert await house.events() == before
    assert await house.pool.fetchval("select bucket from rounds where id = $1", round_id) == Bucket.none
    closing = await house.pool.fetch("select due_at from timers where kind = $1", CLOSE)
    assert {row["due_at"] - NOW > timedelta(days=13) for row in closing} == {True}


_INVITATION_OF = "select id from invited where respondent_id = $1"


def token_of(house: House, invitation_id: UUID) -> str:
    return token_for(house.settings.secrets.link, invitation_id)
