"""People and units, without a database."""

from dataclasses import replace
from itertools import count
from uuid import UUID

from services.enrolment.people.domain import Person, PersonTransition, PreviousPlacement, Unit, events_of, grow_units
from shared.events import (
    PersonDeactivated,
    PersonManagerChanged,
    PersonMoved,
    PersonProvisioned,
    PersonReactivated,
    PersonState,
    PersonStatus,
)

_numbers = count(1)


def an_id() -> UUID:
    return UUID(int=next(_numbers))


ANNA = Person(
    id=an_id(), employee_id="1", login="anna", given_name="Anna", family_name="Berg", email="anna@example.org",
    title=None, grade=None, unit_id=an_id(), manager_id=an_id(), status=PersonStatus.active, locale="sv",
    time_zone="Europe/Stockholm",
)  # fmt: skip
BEFORE = PreviousPlacement(ANNA.unit_id, ANNA.manager_id, ANNA.status)


def told(after: Person, before: PreviousPlacement | None) -> list[type]:
    return [type(event) for event in events_of(PersonTransition(after, before))]


def test_somebody_new_is_told_in_full_and_as_a_fact() -> None:
    assert told(ANNA, None) == [PersonState, PersonProvisioned]


def test_what_no_fact_is_about_is_told_as_state_alone() -> None:
    assert told(replace(ANNA, title="Chief"), BEFORE) == [PersonState]
    assert told(replace(ANNA, status=PersonStatus.on_leave), BEFORE) == [PersonState]


def test_every_change_of_meaning_is_a_fact_of_its_own() -> None:
    elsewhere = replace(ANNA, unit_id=an_id(), manager_id=None)
    state, moved, managed = events_of(PersonTransition(elsewhere, BEFORE))
    assert isinstance(state, PersonState)
    assert isinstance(moved, PersonMoved)
    assert (moved.unit_id, moved.previous_unit_id) == (elsewhere.unit_id, ANNA.unit_id)
    assert isinstance(managed, PersonManagerChanged)
    assert (managed.manager_id, managed.previous_manager_id) == (None, ANNA.manager_id)


def test_leaving_and_returning_are_facts() -> None:
    gone = replace(ANNA, status=PersonStatus.inactive)
    assert told(gone, BEFORE) == [PersonState, PersonDeactivated]
    was_gone = replace(BEFORE, status=PersonStatus.inactive)
    assert told(ANNA, was_gone) == [PersonState, PersonReactivated]
    assert told(gone, was_gone) == [PersonState]


def test_paths_become_a_tree_in_which_every_level_stands_once() -> None:
    found, created = grow_units([], [("Care", "Home"), ("Care", "School"), ("Care",)], an_id)
    assert [unit.name for unit in created] == ["Care", "Home", "School"]
    assert {unit.parent_id for unit in created[1:]} == {found[("Care",)]}
    known = [*created]
    again, nothing = grow_units(known, [("Care", "Home")], an_id)
    assert nothing == []
    assert again[("Care", "Home")] == found[("Care", "Home")]


def test_the_same_name_below_two_units_is_two_units() -> None:
    found, created = grow_units([], [("North", "Legal"), ("South", "Legal")], an_id)
    assert len(created) == 4
    assert found[("North", "Legal")] != found[("South", "Legal")]


def test_a_merged_unit_stands_for_the_one_it_was_merged_into() -> None:
    new = Unit(an_id(), "New", None)
    old = Unit(an_id(), "Old", None, merged_into=new.id)
    found, created = grow_units([new, old], [("Old",), ("Old", "Team")], an_id)
    assert found[("Old",)] == new.id
    assert [(unit.name, unit.parent_id) for unit in created] == [("Team", new.id)]
