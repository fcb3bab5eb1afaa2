"""People and units: how paths grow into a tree, and which change is which event."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.events import (
    Event,
    PersonDeactivated,
    PersonManagerChanged,
    PersonMoved,
    PersonProvisioned,
    PersonReactivated,
    PersonState,
    PersonStatus,
    UnitState,
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of the tree as it is stored."""

    id: UUID
    name: str
    parent_id: UUID | None
    merged_into: UUID | None = None


def grow_units(
    units: Iterable[Unit], paths: Iterable[Sequence[str]], new_id: Callable[[], UUID]
) -> tuple[dict[tuple[str, ...], UUID], list[Unit]]:
    """The unit of every path, and the units that are new, parents before their children.

    A unit that was merged into another stands for that one, so people whom a file still puts there go to the other.
    """
    merged = {unit.id: unit.merged_into for unit in units if unit.merged_into is not None}
    children = {(unit.parent_id, unit.name): unit.id for unit in units}
    found: dict[tuple[str, ...], UUID] = {}
    created: list[Unit] = []
    for path in sorted({tuple(path) for path in paths}):
        parent: UUID | None = None
        for name in path:
            unit_id = children.get((parent, name))
            if unit_id is None:
                unit_id = new_id()
                created.append(Unit(unit_id, name, parent))
                children[parent, name] = unit_id
            while unit_id in merged:
                unit_id = merged[unit_id]
            parent = unit_id
        if parent is not None:
            found[path] = parent
    return found, created


def path_of(unit: Unit, by_id: Mapping[UUID, Unit]) -> list[str]:
    """The names of the units above it, from the top, and its own."""
    names = [unit.name]
    while unit.parent_id is not None and unit.parent_id in by_id:
        unit = by_id[unit.parent_id]
        names.append(unit.name)
    return names[::-1]


@dataclass(frozen=True, slots=True)
class Person:
    """A person as stored."""

    id: UUID
    employee_id: str
    login: str | None
    given_name: str
    family_name: str
    email: str | None
    title: str | None
    grade: str | None
    unit_id: UUID
    manager_id: UUID | None
    status: PersonStatus
    locale: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class PreviousPlacement:
    """What the facts are told by: a known person's unit, manager and status before a change."""

    unit_id: UUID
    manager_id: UUID | None
    status: PersonStatus


@dataclass(frozen=True, slots=True)
class PersonTransition:
    """A person after a change, and before it when they were known."""

    after: Person
    before: PreviousPlacement | None


def events_of(change: PersonTransition) -> Iterator[Event]:
    """The full state for our own services, then the public facts: each change of meaning is one event."""
    after, before = change.after, change.before
    yield state_of(after)
    if before is None:
        yield PersonProvisioned(person_id=after.id, unit_id=after.unit_id, manager_id=after.manager_id)
        return
    was_here, is_here = (person.status is not PersonStatus.inactive for person in (before, after))
    if was_here and not is_here:
        yield PersonDeactivated(person_id=after.id, unit_id=after.unit_id)
    if is_here and not was_here:
        yield PersonReactivated(person_id=after.id, unit_id=after.unit_id)
    if after.unit_id != before.unit_id:
        yield PersonMoved(person_id=after.id, unit_id=after.unit_id, previous_unit_id=before.unit_id)
    if after.manager_id != before.manager_id:
        yield PersonManagerChanged(
            person_id=after.id,
            unit_id=after.unit_id,
            manager_id=after.manager_id,
            previous_manager_id=before.manager_id,
        )


def state_of(person: Person) -> PersonState:
    return PersonState(
        person_id=person.id,
        login=person.login,
        employee_id=person.employee_id,
        given_name=person.given_name,
        family_name=person.family_name,
        email=person.email,
        title=person.title,
        unit_id=person.unit_id,
        manager_id=person.manager_id,
        status=person.status,
        locale=person.locale,
        time_zone=person.time_zone,
    )


def unit_state_of(unit: Unit) -> UnitState:
    return UnitState(unit_id=unit.id, name=unit.name, parent_id=unit.parent_id, merged_into=unit.merged_into)
