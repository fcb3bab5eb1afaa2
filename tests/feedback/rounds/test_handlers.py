import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from services.feedback.responses.domain import LinkRefusedError
from services.feedback.rounds.actions import CLOSE, COUNT, PRUNE
from shared.directory import handlers as directory
from shared.events import (
    EnrolmentWithdrawn,
    Group,
    MilestoneReached,
    MilestoneUndone,
    PersonState,
    Practice,
)
from shared.ids import new_id
from shared.messaging.handler import Received
from shared.postgres.transaction import transaction
from shared.security.invitation_tokens import token_for, token_hash
from tests.feedback.house import NOW, PRACTICES, House, due, received

CLOSES = datetime(2026, 3, 16, 22, 59, 59, tzinfo=UTC)  # the end of a day in Stockholm, two weeks on


def undone(reached: MilestoneReached) -> MilestoneUndone:
    return MilestoneUndone.model_validate(reached.model_dump(exclude={"feedback"}))


def withdrawn(reached: MilestoneReached) -> EnrolmentWithdrawn:
    return EnrolmentWithdrawn.model_validate(reached.model_dump(exclude={"feedback", "milestone", "practices"}))


def person(house: House, person_id: UUID, status: str = "inactive") -> PersonState:
    return PersonState.model_validate(
        {
            "person_id": person_id, "employee_id": "1", "given_name": "A", "family_name": "B", "unit_id": house.unit,
            "status": status, "locale": "sv", "time_zone": "Europe/Stockholm",
        }
    )  # fmt: skip


async def follow_people(house: House, *events: Received[PersonState]) -> None:
    async with transaction(house.pool) as conn:
        await house.rounds.follow_people(conn, events, NOW)


async def states(house: House, round_id: UUID) -> list[str]:
    rows = await house.pool.fetch("select distinct state from links where round_id = $1 order by 1", round_id)
    return [row["state"] for row in rows]


async def test_a_reached_milestone_opens_a_round_and_invites_self_manager_and_peers(house: House) -> None:
    round_id = await house.open_round()
    row = await house.pool.fetchrow("select * from rounds where id = $1", round_id)
    assert row is not None
    assert (row["state"], row["k"], row["closes_at"]) == ("open", 5, CLOSES)
    invited = await house.pool.fetch("select respondent_id, respondent_group from invited")
    assert {(one["respondent_id"], one["respondent_group"]) for one in invited} == {
        (house.co_leader, "self"), (house.manager, "manager"), *((peer, "peer") for peer in house.peers),
    }  # fmt: skip
    assert await house.events() == ["round.opened"] + ["invitation.issued"] * 10


async def test_events_of_an_opening_are_caused_by_the_milestone_and_carry_no_link(house: House) -> None:
    cause = received(house.milestone())
    await house.handle(cause)
    rows = await house.pool.fetch("select caused_by, headers, payload from outbox")
    assert {row["caused_by"] for row in rows} == {cause.id}
    written = b"".join(row["headers"].encode() + row["payload"] for row in rows).decode()
    hashes = {row["token_hash"] for row in await house.pool.fetch("select token_hash from links")}
    for row in await house.pool.fetch("select id from invited"):
        token = token_for(house.settings.secrets.link, row["id"])
        assert token_hash(token) in hashes
        assert token not in written


async def test_a_rounds_invitations_go_out_in_an_order_of_chance(house: House) -> None:
    """Their mail is told in public: the first would be the co-leader's own, the second the manager's."""
    await house.handle(*[received(house.milestone(person_id=peer)) for peer in house.peers])
    issued = await house.pool.fetch(
        """
        select payload ->> 'round_id' as round, payload ->> 'group' as asked
        from (select seq, convert_from(payload, 'UTF8')::jsonb as payload
              from outbox where type = 'medled.invitation.issued.v1') o
        order by seq
        """
    )
    firsts = {row["round"]: row["asked"] for row in reversed(issued)}
    assert len(firsts) == len(house.peers)
    assert set(firsts.values()) != {"self"}


async def test_a_milestone_without_feedback_opens_nothing(house: House) -> None:
    assert await house.handle(received(house.milestone(feedback=None))) == ()
    assert await house.events() == []


async def test_many_milestones_in_one_batch_open_one_round_each(house: House) -> None:
    await house.handle(*[received(house.milestone(person_id=peer)) for peer in house.peers])
    assert await house.pool.fetchval("select count(*) from rounds where state = 'open'") == len(house.peers)
    assert await house.pool.fetchval("select count(distinct token_hash) from links") == 10 * len(house.peers)


async def test_a_practice_is_not_asked_about_again_until_it_has_rested(house: House) -> None:
    """Six peers' mean less that of five of them would be the sixth one's answer."""
    first = await house.open_round()
    both = house.milestone(practices=(*PRACTICES, Practice.mobilising))
    await house.handle(received(both), received(house.milestone()))
    rows = await house.pool.fetch("select state, reason, practices from rounds where id <> $1 order by state", first)
    assert [tuple(row) for row in rows] == [
        ("open", None, ["mobilising"]),
        ("withheld", "asked_recently", list(PRACTICES)),
    ]
    assert (await house.events("medled.round.%"))[-2:] == ["round.opened", "round.withheld"]
    for token in (await house.tokens(first))[Group.peer]:
        await house.answer(token)
    await house.close(first)
    house.now += house.settings.rest
    again = await house.open_round()
    assert await house.pool.fetchval("select reason from rounds where id = $1", again) == "asked_recently"
    house.let_practices_rest()
    rested = await house.open_round()
    assert await house.pool.fetchval("select state from rounds where id = $1", rested) == "open"


async def test_rounds_about_one_person_that_open_at_once_share_no_practice(house: House) -> None:
    await asyncio.gather(*[house.handle(received(house.milestone())) for _ in range(4)])
    rows = await house.pool.fetch("select state, count(*) from rounds group by 1 order by 1")
    assert [tuple(row) for row in rows] == [("open", 1), ("withheld", 3)]


async def test_rounds_about_people_who_are_each_others_peers_open_at_once(house: House) -> None:
    """Each looks at all the others: none may wait for one that waits for it."""
    await asyncio.gather(*[house.handle(received(house.milestone(person_id=peer))) for peer in house.peers])
    assert await house.pool.fetchval("select count(*) from rounds where state = 'open'") == len(house.peers)


async def test_a_small_team_is_filled_up_from_the_unit_however_many_have_left_it(house: House) -> None:
    await house.pool.execute("update people set status = 'inactive' where id = any($1::uuid[])", house.peers[3:])
    other_manager = new_id()
    await house.add_person(other_manager, manager=None, name="Moa")  # all this was long ago
    for number in range(8):
        await house.add_person(new_id(), manager=other_manager, name=f"Unit{number}")
    await house.open_round()
    invited = await house.pool.fetch("select respondent_id from invited where respondent_group = 'peer'")
    assert {row["respondent_id"] for row in invited} > set(house.peers[:3])
    assert len(invited) == 3 + 8 + 1


async def test_a_round_that_can_ask_nobody_is_withheld_from_the_start_and_says_so(house: House) -> None:
    await house.pool.execute("update people set email = null")
    await house.let_it_last()
    round_id = await house.open_round()
    row = await house.pool.fetchrow("select state, reason, wrapped_key, public_key from rounds where id = $1", round_id)
    assert row is not None
    assert tuple(row) == ("withheld", "nobody_to_ask", None, None)
    assert await house.events() == ["round.withheld"]
    assert await house.pool.fetchval("select count(*) from timers") == 0


async def test_a_departure_while_a_round_opens_finds_the_invitation_to_take_back(house: House) -> None:
    """The directory takes the departure first, and waits there for the opening to end."""
    async with transaction(house.pool) as opening:
        await house.rounds.follow_enrolments(opening, [received(house.milestone())], NOW)
        gone = received(person(house, house.peers[0]))

        async def leave() -> None:
            async with transaction(house.pool) as conn:
                await directory.keep_people(conn, [gone], NOW)
                await house.rounds.follow_people(conn, [gone], NOW)

        leaving = asyncio.create_task(leave())
        waits = """
            select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())
        """
        while not await house.pool.fetchval(waits):
            await asyncio.sleep(0.01)
    await leaving
    assert await house.pool.fetchval("select count(*) from revocations") == 1


async def test_a_milestone_waits_for_a_person_the_directory_does_not_know(house: House) -> None:
    stranger = new_id()
    known, unknown = received(house.milestone()), received(house.milestone(person_id=stranger))
    parked = await house.handle(known, unknown)
    assert [(one.event_id, one.waiting_for) for one in parked] == [(unknown.id, f"person:{stranger}")]
    assert await house.pool.fetchval("select count(*) from rounds") == 1


async def test_a_milestone_waits_for_the_persons_manager_too(house: House) -> None:
    manager, co_leader = new_id(), new_id()
    await house.add_person(co_leader, manager=manager)
    event = received(house.milestone(person_id=co_leader))
    assert [one.waiting_for for one in await house.handle(event)] == [f"person:{manager}"]
    await house.add_person(manager, manager=None)
    assert await house.handle(event) == []
    assert await house.pool.fetchval("select count(*) from rounds") == 1


async def test_the_private_key_is_stored_only_wrapped_and_only_while_open(house: House) -> None:
    round_id = await house.open_round()
    wrapped = await house.pool.fetchval("select wrapped_key from rounds where id = $1", round_id)
    assert len(wrapped) > 32
    await house.close(round_id)
    assert await house.pool.fetchval("select wrapped_key from rounds where id = $1", round_id) is None


async def test_an_opened_round_will_be_closed_and_counted(house: House) -> None:
    round_id = await house.open_round()
    timers = {row["kind"]: row["due_at"] for row in await house.pool.fetch("select * from timers")}
    assert timers == {CLOSE: CLOSES, COUNT: NOW + timedelta(minutes=30)}
    assert await house.pool.fetchval("select count(*) from timers where key = $1", str(round_id)) == 2


async def test_a_milestone_undone_takes_its_open_round_back_unread(house: House) -> None:
    reached = received(house.milestone(), sequence=5)
    await house.handle(reached)
    round_id = await house.pool.fetchval("select id from rounds")
    tokens = await house.tokens(round_id)
    await house.answer(tokens[Group.peer][0])
    await house.handle(received(undone(reached.data), sequence=6))
    row = await house.pool.fetchrow("select state, reason, wrapped_key from rounds")
    assert row is not None
    assert tuple(row) == ("withheld", "milestone_undone", None)
    assert (
        await house.pool.fetchval("select count(*) from ballots")
        + await house.pool.fetchval("select count(*) from cells")
        == 0
    )
    assert await states(house, round_id) == ["revoked"]
    assert (await house.events())[-12:] == ["invitation.revoked"] * 10 + ["round.closed", "round.withheld"]
    with pytest.raises(LinkRefusedError, match="revoked"):
        await house.answer(tokens[Group.peer][1])


async def test_a_withdrawn_enrolment_takes_all_its_open_rounds_back_and_no_others(house: House) -> None:
    reached = house.milestone()
    other = await house.open_round(person_id=house.peers[0])
    await house.handle(received(reached, sequence=5))
    await house.handle(received(withdrawn(reached), sequence=8))
    rows = await house.pool.fetch("select id = $1 as other, state, reason from rounds order by 1", other)
    assert [tuple(row) for row in rows] == [(False, "withheld", "enrolment_withdrawn"), (True, "open", None)]


@pytest.mark.parametrize("together", [True, False])
async def test_what_was_undone_before_it_could_open_never_opens(house: House, together: bool) -> None:
    reached = house.milestone()
    events = [received(undone(reached), sequence=6), received(reached, sequence=5)]
    if together:
        await house.handle(*events)
    else:
        for event in events:
            await house.handle(event)
    assert await house.pool.fetchval("select count(*) from rounds") == 0


async def test_a_milestone_reached_again_after_being_undone_opens_a_new_round(house: House) -> None:
    reached = house.milestone()
    await house.handle(received(reached, sequence=5), received(undone(reached), sequence=6))
    await house.handle(received(reached, sequence=7))
    assert [row["state"] for row in await house.pool.fetch("select state from rounds")] == ["open"]


async def test_a_milestone_reached_again_is_not_asked_about_twice_while_its_round_is_open(house: House) -> None:
    """However the log's order was lost: the undoing comes last, or not at all."""
    reached = house.milestone()
    await house.handle(received(reached, sequence=5))
    await house.handle(received(reached, sequence=7))
    await house.handle(received(undone(reached), sequence=6))
    rows = await house.pool.fetch("select state, caused_sequence from rounds")
    assert [tuple(row) for row in rows] == [("open", 7)]
    assert await house.pool.fetchval("select count(*) from invited") == 10


async def test_of_one_milestone_reached_twice_in_a_batch_one_round_opens(house: House) -> None:
    reached = house.milestone()
    await house.handle(received(reached, sequence=7), received(reached, sequence=5))
    await house.handle(received(undone(reached), sequence=6))
    assert [row["state"] for row in await house.pool.fetch("select state from rounds")] == ["open"]


async def test_a_milestone_whose_results_were_released_is_not_asked_about_again(house: House) -> None:
    reached = house.milestone()
    await house.handle(received(reached, sequence=5))
    round_id = await house.pool.fetchval("select id from rounds")
    for token in (await house.tokens(round_id))[Group.peer]:
        await house.answer(token)
    await house.close(round_id)
    await house.handle(received(undone(reached), sequence=6), received(reached, sequence=7))
    assert [row["state"] for row in await house.pool.fetch("select state from rounds")] == ["released"]


async def test_a_milestone_whose_round_was_withheld_may_be_asked_about_again(house: House) -> None:
    reached = house.milestone()
    await house.handle(received(reached, sequence=5))
    await house.close(await house.pool.fetchval("select id from rounds"))
    await house.handle(received(undone(reached), sequence=6), received(reached, sequence=7))
    rows = await house.pool.fetch("select state from rounds order by id")
    assert [row["state"] for row in rows] == ["withheld", "open"]


async def test_ending_a_closed_round_changes_nothing(house: House) -> None:
    reached = house.milestone()
    await house.handle(received(reached, sequence=5))
    round_id = await house.pool.fetchval("select id from rounds")
    for token in (await house.tokens(round_id))[Group.peer]:
        await house.answer(token)
    await house.close(round_id)
    before = await house.events()
    await house.handle(received(undone(reached), sequence=6))
    assert await house.events() == before
    assert await house.pool.fetchval("select state from rounds") == "released"


async def test_who_leaves_loses_their_invitations_and_nobody_else_does(house: House) -> None:
    round_id = await house.open_round()
    await follow_people(
        house, received(person(house, house.peers[0])), received(person(house, house.peers[1], status="on_leave"))
    )
    rows = await house.pool.fetch("select respondent_id from invited where not revoked")
    assert {row["respondent_id"] for row in rows} == {house.manager, house.co_leader, *house.peers[1:]}
    assert await states(house, round_id) == ["issued"]  # their link is void, and which one it is, no row says
    gone = token_for(house.settings.secrets.link, await house.pool.fetchval("select id from invited where revoked"))
    with pytest.raises(LinkRefusedError, match="revoked"):
        await house.answer(gone)
    assert await house.events("medled.invitation.revoked%") == ["invitation.revoked"]
    assert await house.pool.fetchval("select state from rounds where id = $1", round_id) == "open"


async def test_what_is_announced_when_somebody_leaves_does_not_tell_whether_they_had_answered(house: House) -> None:
    await house.open_round()
    tokens = {row["respondent_id"]: token_for(house.settings.secrets.link, row["id"])
              for row in await house.pool.fetch("select id, respondent_id from invited")}  # fmt: skip
    await house.answer(tokens[house.peers[0]])
    links = await house.pool.fetch("select *, xmin::text, ctid::text from links order by token_hash")
    leaving = [received(person(house, peer), sequence=number) for number, peer in enumerate(house.peers[:2], start=1)]
    await follow_people(house, *leaving)
    await follow_people(house, *leaving)
    assert await house.events("medled.invitation.revoked%") == ["invitation.revoked"] * 2
    assert await house.pool.fetch("select *, xmin::text, ctid::text from links order by token_hash") == links
    assert await house.pool.fetchval("select count(*) from revocations") == 2
    assert await house.pool.fetchval("select count(*) from ballots") == 1


async def test_what_was_taken_back_is_forgotten_when_the_round_ends(house: House) -> None:
    round_id = await house.open_round()
    await follow_people(house, received(person(house, house.peers[0])))
    await house.close(round_id)
    for table in ("revocations", "invited"):
        assert await house.pool.fetchval(f"select count(*) from {table}") == 0


async def test_a_round_about_somebody_who_left_ends_unread(house: House) -> None:
    round_id = await house.open_round()
    await follow_people(house, received(person(house, house.co_leader)))
    assert await house.pool.fetchval("select reason from rounds where id = $1", round_id) == "subject_left"
    assert await states(house, round_id) == ["revoked"]


async def test_counting_announces_a_bucket_only_when_it_changed(house: House) -> None:
    round_id = await house.open_round()
    tokens = (await house.tokens(round_id))[Group.peer]
    await house.count(round_id)
    assert await house.events("medled.responses%") == []
    await house.answer(tokens[0])
    await house.count(round_id)
    await house.answer(tokens[1])
    await house.count(round_id)
    rows = await house.pool.fetch("select payload from outbox where type like 'medled.responses%'")
    assert [json.loads(row["payload"])["bucket"] for row in rows] == ["1-4"]


async def test_counting_goes_on_at_the_next_tick(house: House) -> None:
    round_id = await house.open_round()
    await house.count(round_id, now=NOW + timedelta(minutes=31))
    assert await house.pool.fetchval("select due_at from timers where kind = $1", COUNT) == NOW + timedelta(minutes=90)


async def test_a_round_that_everybody_answered_closes_at_a_tick_told_like_one_whose_time_is_up(house: House) -> None:
    round_id = await house.open_round()
    for tokens in (await house.tokens(round_id)).values():
        for token in tokens:
            await house.answer(token)
    assert await house.pool.fetchval("select due_at from timers where kind = $1", CLOSE) == CLOSES
    tick = NOW + timedelta(minutes=30)
    await house.count(round_id, now=tick)
    assert await house.pool.fetchval("select due_at from timers where kind = $1", CLOSE) == tick
    await house.close(round_id, now=tick)
    payload = await house.pool.fetchval("select payload from outbox where type = 'medled.round.closed.v1'")
    assert json.loads(payload)["reason"] == "time"
    assert await house.events("medled.responses%") == []


async def test_old_links_are_forgotten_once_their_round_has_ended(house: House) -> None:
    open_round, ended = await house.open_round(), await house.open_round(practices=(Practice.improving,))
    await house.close(ended)
    async with transaction(house.pool) as conn:
        await house.rounds.prune(conn, [due(PRUNE, open_round, NOW), due(PRUNE, ended, NOW)], NOW)
    assert [row[0] for row in await house.pool.fetch("select distinct round_id from links")] == [open_round]
