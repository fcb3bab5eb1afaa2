"""What the programme office does to cohorts. API and pages call these on the transaction they opened."""

from datetime import date, datetime
from uuid import UUID

from services.enrolment.cohorts import domain, store
from services.enrolment.cohorts.domain import Cohort, CohortStatus
from services.enrolment.programmes import store as programmes
from services.enrolment.programmes.domain import must_be_published
from shared.errors import NotFoundError
from shared.events import Event
from shared.events.vocabulary import Role
from shared.ids import new_id
from shared.messaging import outbox
from shared.postgres.pool import Connection
from shared.security.authorization import require
from shared.security.principal import Principal


async def plan(
    conn: Connection,
    who: Principal,
    *,
    programme_id: UUID,
    programme_version: int | None,
    name: str,
    capacity: int,
    unit_id: UUID | None,
    starts_on: date,
    ends_on: date,
    now: datetime,
) -> Cohort:
    """A planned cohort on a published version, the newest unless one is named.

    Raises NotFoundError, NotPublishedError, WrongDatesError.
    """
    await require(conn, who, Role.programme_office, unit=unit_id)
    version = await programmes.share_version(conn, programme_id, programme_version)
    if version is None:
        raise NotFoundError(
            "There is no such programme, or it has no published version.",
            field="programme_id",
            remedy="Choose a programme from the list, or publish it first.",
        )
    must_be_published(version)
    if unit_id is not None and not await store.unit_exists(conn, unit_id):
        raise NotFoundError("There is no unit with this id.", field="unit_id", remedy="Choose one from the list.")
    cohort = domain.plan(
        Cohort(
            id=new_id(),
            programme_id=programme_id,
            programme_version=version.version,
            name=name,
            capacity=capacity,
            unit_id=unit_id,
            starts_on=starts_on,
            ends_on=ends_on,
            status=CohortStatus.planned,
        )
    )
    await store.insert(conn, cohort, now)
    return cohort


async def open_(conn: Connection, who: Principal, cohort_id: UUID, *, now: datetime) -> Cohort:
    """Let people ask for a place. Raises NotFoundError, CohortStateError, NotPublishedError (retired meanwhile)."""
    cohort = await lock(conn, who, cohort_id)
    opened, events = domain.open_(cohort)
    version = await programmes.share_version(conn, cohort.programme_id, cohort.programme_version)
    if version is not None:
        must_be_published(version)
    await keep(conn, opened, events, now)
    return opened


async def start(conn: Connection, who: Principal, cohort_id: UUID, *, now: datetime) -> Cohort:
    """Begin to run. Raises NotFoundError, CohortStateError."""
    started, events = domain.start(await lock(conn, who, cohort_id))
    await keep(conn, started, events, now)
    return started


async def keep(conn: Connection, cohort: Cohort, events: list[Event], now: datetime) -> None:
    """Store a changed cohort, and announce it."""
    await store.update(conn, cohort)
    await outbox.add(conn, *events, now=now)


async def lock(conn: Connection, who: Principal, cohort_id: UUID) -> Cohort:
    """The cohort, locked, for whoever may change it. Raises NotFoundError, ProblemError 403."""
    cohort = (await store.lock(conn, [cohort_id])).get(cohort_id)
    if cohort is None:
        raise NotFoundError("There is no cohort with this id.", remedy="Choose one from the list.")
    await require(conn, who, Role.programme_office, unit=cohort.unit_id)
    return cohort
