"""What enrolments do when something happens elsewhere: a person leaves, has another manager, or no answer comes."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.enrolment.cohorts import store as cohorts
from services.enrolment.enrolments import actions, domain, store
from services.enrolment.enrolments.domain import OPEN, Enrolment, Status
from shared.events import PersonDeactivated, PersonManagerChanged
from shared.messaging import outbox
from shared.messaging.handler import Handler, Received
from shared.postgres.pool import Connection
from shared.timers import Due, TimerHandler

Departure = Received[PersonDeactivated]


async def withdraw_departed(conn: Connection, departures: Sequence[Departure], now: datetime) -> None:
    """Whoever left gives up their places and requests; the places go to who waits.

    Only what was asked for before the departure: when the fact comes late, a person who returned keeps what is new.
    """
    found = await store.open_of(conn, [departure.data.person_id for departure in departures])
    causes = {each.id: cause for each in found if (cause := _cause(each, departures)) is not None}
    locked_cohorts = await cohorts.lock(conn, sorted({each.cohort_id for each in found if each.id in causes}))
    locked = [each for each in await store.lock(conn, list(causes)) if each.status in OPEN]
    members = await store.members(conn, [each.person_id for each in locked])
    withdrawn = [(causes[each.id], *domain.withdraw(each, members[each.person_id])) for each in locked]

    await store.update(conn, [enrolment for _, enrolment, _ in withdrawn], now)
    await outbox.add_caused(conn, [(event, cause) for cause, _, events in withdrawn for event in events], now=now)
    for cohort_id, cause in {enrolment.cohort_id: cause for cause, enrolment, _ in withdrawn}.items():
        await actions.fill_places(conn, locked_cohorts[cohort_id], now=now, cause=cause)
    counts = [sum(cause is departure for cause, _, _ in withdrawn) for departure in departures]
    await store.record_departures(
        conn, [(each.id, each.data.person_id, count) for each, count in zip(departures, counts, strict=True)], now
    )


async def tell_new_approver(conn: Connection, changes: Sequence[Received[PersonManagerChanged]], now: datetime) -> None:
    """Somebody else answers the open requests of people who report to another manager now.

    Who that is, is what holds now: of two changes, the one that was overtaken tells nothing.
    """
    people = {change.data.person_id for change in changes}
    locked = await store.lock(conn, [each.id for each in await store.open_of(conn, sorted(people))])
    waiting = [each for each in locked if each.status is Status.requested]
    members = await store.members(conn, [each.person_id for each in waiting])
    pairs = [
        (domain.change_approver(each, members[each.person_id]), change)
        for change in changes
        for each in waiting
        if each.person_id == change.data.person_id
        and members[each.person_id].manager_id == change.data.manager_id
        and each.requested_at <= change.time  # who asked later asked the new manager
    ]
    await outbox.add_caused(conn, pairs, now=now)


def _cause(enrolment: Enrolment, departures: Sequence[Departure]) -> Departure | None:
    """The first of the departures that ends this enrolment."""
    return next(
        (
            departure
            for departure in departures
            if departure.data.person_id == enrolment.person_id and enrolment.requested_at <= departure.time
        ),
        None,
    )


async def expire_unanswered(conn: Connection, due: Sequence[Due], now: datetime) -> None:
    """The time to answer these requests is over."""
    await actions.expire_unanswered(conn, [UUID(each.key) for each in due], now=now)


def handlers() -> list[Handler]:
    """The events enrolments listen to."""
    return [
        Handler(
            name="enrolment.enrolments.withdraw_departed",
            events=(PersonDeactivated,),
            apply=withdraw_departed,
            mode="every_fact",
            effect="departures.event_id",
        ),
        Handler(
            name="enrolment.enrolments.tell_new_approver",
            events=(PersonManagerChanged,),
            apply=tell_new_approver,
            mode="every_fact",
            no_replay="whoever was asked to approve would be asked again",
        ),
    ]


def timers() -> dict[str, TimerHandler]:
    """The times enrolments wait for."""
    return {actions.APPROVAL_TIMER: expire_unanswered}
