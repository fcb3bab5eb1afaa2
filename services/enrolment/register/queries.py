"""All that is known of one person, as far as the reader may see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.enrolment.enrolments import queries as enrolments
from services.enrolment.enrolments.store import ListedEnrolment
from services.enrolment.imports.queries import MAY_IMPORT
from services.enrolment.imports.store import ledger
from services.enrolment.people import queries, store
from services.enrolment.people.domain import Person, path_of
from shared.errors import NotFoundError
from shared.postgres.pool import Connection
from shared.security.audit import audit
from shared.security.authorization import units_of
from shared.security.principal import Principal

_MOST_ENROLMENTS = 50


@dataclass(frozen=True, slots=True)
class Origin:
    """Where what is known of a person comes from. The imports are only for who may read their reports."""

    source: str
    changed_at: datetime
    changed_by: ledger.Import | None
    last_import: ledger.Import | None
    former_logins: Sequence[tuple[str, datetime]]


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """A person, with the unit's path. manager: None when there is none, or it is not for the reader to see who."""

    person: Person
    unit: Sequence[str]
    manager: Person | None
    origin: Origin
    enrolments: Sequence[ListedEnrolment] | None


async def known_person(conn: Connection, who: Principal, person_id: UUID, *, now: datetime) -> KnownPerson:
    """Raises NotFoundError, and ProblemError 403; every reading of somebody else is put on record."""
    person = await queries.one(conn, who, person_id, now=now)
    by_id = {unit.id: unit for unit in await store.units(conn)}
    return KnownPerson(
        person,
        path_of(by_id[person.unit_id], by_id),
        await _manager(conn, who, person, now),
        await _origin(conn, who, person),
        await enrolments.of_person(conn, who, person.id, limit=_MOST_ENROLMENTS, now=now),
    )


async def _manager(conn: Connection, who: Principal, person: Person, now: datetime) -> Person | None:
    """For the person, the manager, and who may look the manager up: reading the name is reading about somebody."""
    if person.manager_id is None:
        return None
    manager = await store.find_person(conn, person.manager_id)
    if manager is None or who.person_id == manager.id:
        return manager
    units = await units_of(conn, who, *queries.MAY_LOOK_UP)
    if who.person_id != person.id and units is not None and manager.unit_id not in units:
        return None
    await audit(conn, who, "person.read", manager.id, now)
    return manager


async def _origin(conn: Connection, who: Principal, person: Person) -> Origin:
    found = await store.source_of(conn, person.id)
    if found is None:
        raise NotFoundError("There is no person with this id.")
    source, changed_at = found
    may_read_reports = any(who.roles.get(role, ()) is None for role in MAY_IMPORT)
    return Origin(
        source,
        changed_at,
        await ledger.that_changed(conn, source, changed_at) if may_read_reports else None,
        await ledger.last_done(conn, source) if may_read_reports else None,
        await store.former_logins(conn, person.id),
    )
