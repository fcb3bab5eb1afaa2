"""Figures come out the same whatever the order of the facts and however often each one comes."""

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.portal.dashboard import store
from services.portal.dashboard.domain import EVERYTHING, Figures, Within, figures
from shared.events import (
    EnrolmentActivated,
    EnrolmentApproved,
    EnrolmentCompleted,
    EnrolmentDeclined,
    EnrolmentRequested,
    EnrolmentWaitlisted,
    EnrolmentWithdrawn,
    Event,
    Milestone,
    MilestoneAttested,
    MilestoneReached,
    MilestoneUndone,
    MilestoneWaived,
    NotificationDeferred,
    NotificationFailed,
    NotificationSent,
    Practice,
    ProgrammePublished,
    ResultsReleased,
    RoundClosed,
    RoundOpened,
    RoundWithheld,
    Title,
)
from shared.ids import new_id
from shared.postgres.pool import Pool
from shared.postgres.transaction import transaction
from tests.portal.conftest import Take
from tests.portal.facts import Organisation

ADMITTED = (EnrolmentRequested, EnrolmentApproved, EnrolmentActivated)
LIVES: dict[str, tuple[tuple[type[Event], ...], str]] = {
    "asked": ((EnrolmentRequested,), "requested"),
    "declined": ((EnrolmentRequested, EnrolmentDeclined), "declined"),
    "waiting": ((EnrolmentRequested, EnrolmentApproved, EnrolmentWaitlisted), "waitlisted"),
    "active": ((*ADMITTED, MilestoneReached), "active"),
    "undone": (
        (*ADMITTED, MilestoneReached, MilestoneUndone), "active",
    ),
    "completed": (
        (*ADMITTED, MilestoneReached, MilestoneAttested, EnrolmentCompleted), "completed",
    ),
    "waived": ((*ADMITTED, MilestoneWaived, EnrolmentWithdrawn), "withdrawn"),
}  # fmt: skip
ROUNDS: dict[str, tuple[type[Event], ...]] = {
    "open": (RoundOpened,),
    "closed": (RoundOpened, RoundClosed),
    "released": (RoundOpened, RoundClosed, ResultsReleased),
    "withheld": (RoundOpened, RoundClosed, RoundWithheld),
}
DELIVERIES: dict[str, tuple[type[Event], ...]] = {
    "sent": (NotificationDeferred, NotificationSent),
    "deferred": (NotificationDeferred,),
    "failed": (NotificationDeferred, NotificationFailed),
}


async def counted(pool: Pool, within: Within = EVERYTHING) -> Figures:
    async with transaction(pool) as conn:
        return figures(await store.count(conn, within), within)


async def emptied(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await conn.execute("truncate enrolments, milestones, rounds, deliveries, programmes, cohorts, stream")


@given(
    lives=st.lists(st.sampled_from(sorted(LIVES)), min_size=1, max_size=8),
    rounds=st.lists(st.sampled_from(sorted(ROUNDS)), max_size=4),
    deliveries=st.lists(st.sampled_from(sorted(DELIVERIES)), max_size=4),
    chaos=st.randoms(use_true_random=False),
    repeats=st.integers(1, 3),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_order_and_any_repetition_gives_the_same_figures(
    *,
    pool: Pool,
    take: Take,
    lives: list[str],
    rounds: list[str],
    deliveries: list[str],
    chaos: random.Random,
    repeats: int,
) -> None:
    await emptied(pool)
    organisation = Organisation()
    organisation.catalogue()
    for life in lives:
        organisation.enrolment(*LIVES[life][0])
    for name in rounds:
        organisation.round(*ROUNDS[name])
    for name in deliveries:
        organisation.delivery(*DELIVERIES[name])

    facts = organisation.told * repeats
    chaos.shuffle(facts)
    while facts:
        size = chaos.randint(1, 12)
        await take(facts[:size])
        facts = facts[size:]

    seen = await counted(pool)
    ends = [LIVES[life][1] for life in lives]
    assert {state: n for state, n in seen.enrolments.items() if n} == {end: ends.count(end) for end in ends}
    assert seen.milestones == {
        "reached": lives.count("active") + lives.count("completed"),
        "attested": lives.count("completed"),
        "waived": lives.count("waived"),
    }
    assert seen.practices["leading_meetings"] == lives.count("active") + lives.count("completed")
    assert seen.rounds == {state: rounds.count(state) for state in ("open", "closed", "released", "withheld")}
    assert seen.deliveries == {state: deliveries.count(state) for state in ("sent", "deferred", "failed")}
    assert (seen.programmes, seen.cohorts["open"]) == (1, 1)
    async with transaction(pool) as conn:
        assert await conn.fetchval("select count(*) from stream") == len(organisation.told)


async def test_nothing_counted_is_zero_in_every_place_and_not_absent(pool: Pool) -> None:
    seen = await counted(pool)
    assert set(seen.enrolments.values()) | set(seen.practices.values()) | set(seen.rounds.values()) == {0}
    assert len(seen.practices) == 12
    assert (seen.position, seen.newest_at) == (0, None)


async def test_figures_of_a_unit_count_that_unit_only(pool: Pool, take: Take) -> None:
    organisation, elsewhere = Organisation(), new_id()
    organisation.enrolment(EnrolmentRequested)
    organisation.enrolment(EnrolmentRequested, EnrolmentDeclined, unit=elsewhere)
    await take(organisation.told)
    there = await counted(pool, Within(units=frozenset({elsewhere})))
    assert (there.enrolments["requested"], there.enrolments["declined"]) == (0, 1)
    nowhere = await counted(pool, Within(programme=new_id()))
    assert sum(nowhere.enrolments.values()) == 0


async def test_the_newest_version_of_a_programme_names_it(pool: Pool, take: Take) -> None:
    organisation = Organisation()
    organisation.catalogue()
    organisation.tell(
        ProgrammePublished(
            programme_id=organisation.programme, version=2, title=Title(sv="Nytt", en="New"), milestones=()
        )
    )
    await take(list(reversed(organisation.told)))
    async with transaction(pool) as conn:
        assert await conn.fetchval("select title->>'sv' from programmes") == "Nytt"


async def test_a_milestone_has_the_title_of_the_version_that_its_cohort_runs(pool: Pool, take: Take) -> None:
    organisation = Organisation()
    organisation.catalogue()
    organisation.enrolment(EnrolmentRequested, EnrolmentApproved, EnrolmentActivated, MilestoneReached)
    renamed = Milestone(
        key="first_meeting", title=Title(sv="Mötet", en="The meeting"), practices=(Practice.leading_meetings,)
    )
    organisation.tell(
        ProgrammePublished(
            programme_id=organisation.programme, version=2, title=Title(sv="Nytt", en="New"), milestones=(renamed,)
        )
    )
    await take(organisation.told)
    async with transaction(pool) as conn:
        titles = await conn.fetch("select milestone_title from stream_entries where milestone_title is not null")
    assert [row["milestone_title"]["en"] for row in titles] == ["First meeting"]
