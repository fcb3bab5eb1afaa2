"""What enrolments do when something happens elsewhere: a person leaves, or an answer does not come in time."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.enrolment.cohorts import store as cohorts
from services.enrolment.enrolments import actions, domain, store
from services.enrolment.enrolments.domain import OPEN, Enrolment
from shared import outbox
from shared.db import Connection
from shared.events import PersonDeactivated
from shared.inbox import Handler, Received
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
        )
    ]


def timers() -> dict[str, TimerHandler]:
    """The times enrolments wait for."""
    return {actions.APPROVAL_TIMER: expire_unanswered}
