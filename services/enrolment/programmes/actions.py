"""What the programme office does to programmes. API and pages call these on the transaction they opened."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.enrolment.programmes import domain, store
from services.enrolment.programmes.domain import Version
from shared.errors import NotFoundError
from shared.events import Milestone, Title
from shared.events.vocabulary import Role
from shared.ids import new_id
from shared.messaging import outbox
from shared.postgres.pool import Connection
from shared.security.authorization import require
from shared.security.principal import Principal


async def create(
    conn: Connection, who: Principal, title: Title, milestones: Sequence[Milestone], *, now: datetime
) -> Version:
    """A new programme with version 1 as a draft. Raises WrongPlanError."""
    await require(conn, who, Role.programme_office)
    version = domain.draft(new_id(), 1, title, milestones)
    await store.insert_programme(conn, version.programme_id, now)
    await store.insert_version(conn, version, now)
    return version


async def new_version(
    conn: Connection,
    who: Principal,
    programme_id: UUID,
    title: Title,
    milestones: Sequence[Milestone],
    *,
    seen: str | None = None,
    now: datetime,
) -> Version:
    """The next version of a programme, as a draft; `seen` is the fingerprint of the newest that its writer has read.

    Raises NotFoundError, DraftExistsError, ChangedMeanwhileError, WrongPlanError.
    """
    await require(conn, who, Role.programme_office)
    existing = await store.lock_versions(conn, programme_id)
    if not existing:
        raise _unknown()
    version = domain.following(existing[-1], title, milestones, seen=seen)
    await store.insert_version(conn, version, now)
    return version


async def edit(
    conn: Connection,
    who: Principal,
    programme_id: UUID,
    number: int,
    title: Title,
    milestones: Sequence[Milestone],
    *,
    seen: str | None = None,
    now: datetime,
) -> Version:
    """Replace a draft's content; `seen` is the fingerprint of what whoever edits it has read.

    Raises NotFoundError, NotADraftError, ChangedMeanwhileError, WrongPlanError.
    """
    version = domain.edit(await _lock(conn, who, programme_id, number), title, milestones, seen=seen)
    await store.update_version(conn, version, now)
    return version


async def publish(
    conn: Connection, who: Principal, programme_id: UUID, number: int, *, seen: str | None = None, now: datetime
) -> Version:
    """From now on the version never changes, and cohorts can run it; `seen` as in `edit`.

    Raises NotFoundError, NotADraftError, ChangedMeanwhileError, WrongPlanError.
    """
    version, events = domain.publish(await _lock(conn, who, programme_id, number), seen=seen)
    await store.update_version(conn, version, now)
    await outbox.add(conn, *events, now=now)
    return version


async def retire(conn: Connection, who: Principal, programme_id: UUID, number: int, *, now: datetime) -> Version:
    """No new cohorts on this version. Raises NotFoundError, NotPublishedError."""
    version, events = domain.retire(await _lock(conn, who, programme_id, number))
    await store.update_version(conn, version, now)
    await outbox.add(conn, *events, now=now)
    return version


async def _lock(conn: Connection, who: Principal, programme_id: UUID, number: int) -> Version:
    await require(conn, who, Role.programme_office)
    version = await store.lock_version(conn, programme_id, number)
    if version is None:
        raise _unknown()
    return version


def _unknown() -> NotFoundError:
    return NotFoundError("There is no programme with this id and version.", remedy="Choose one from the list.")
