"""What the programme office does to a cohort that moves those who take part in it or wait for a place."""

from datetime import datetime
from uuid import UUID

from services.enrolment.cohorts import actions as cohorts
from services.enrolment.cohorts import domain, store
from services.enrolment.cohorts.domain import Cohort
from services.enrolment.enrolments import actions as enrolments
from shared.postgres.pool import Connection
from shared.security.principal import Principal


async def close(conn: Connection, who: Principal, cohort_id: UUID, *, now: datetime) -> Cohort:
    """End the cohort: open requests and the waiting list expire, who is active may finish.

    Raises NotFoundError, CohortStateError.
    """
    closed, events = domain.close(await cohorts.lock(conn, who, cohort_id))
    await cohorts.keep(conn, closed, events, now)
    await enrolments.expire_unplaced(conn, cohort_id, now=now)
    return closed


async def set_capacity(
    conn: Connection, who: Principal, cohort_id: UUID, capacity: int, *, seen: int | None = None, now: datetime
) -> Cohort:
    """Change the number of places; new ones go to who waits, in order. `seen`: how many whoever changes it has read.

    Raises NotFoundError, CohortStateError, CapacityChangedError, CapacityTakenError.
    """
    cohort = await cohorts.lock(conn, who, cohort_id)
    places = (await store.places(conn, [cohort_id]))[cohort_id]
    changed, events = domain.set_capacity(cohort, capacity, places, seen=seen)
    await cohorts.keep(conn, changed, events, now)
    await enrolments.fill_places(conn, changed, now=now)
    return changed
