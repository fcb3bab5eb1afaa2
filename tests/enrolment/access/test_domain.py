"""What granting and revoking does to the roles somebody holds."""

from uuid import UUID

import pytest

from services.enrolment.access.domain import Held, HeldEverywhereError, NotHeldError, granted, grantors, revoked
from shared.events import Role

NORTH, SOUTH = UUID(int=1), UUID(int=2)
OFFICE, OPERATOR = Role.programme_office, Role.operator


def test_a_role_grows_unit_by_unit_and_everywhere_includes_them_all() -> None:
    held = granted(granted({}, OFFICE, NORTH), OFFICE, SOUTH)
    assert held == {OFFICE: frozenset({NORTH, SOUTH})}
    assert granted(held, OFFICE, None) == {OFFICE: None}
    assert granted({OFFICE: None}, OFFICE, NORTH) == {OFFICE: None}
    assert granted(held, OPERATOR, None) == {OFFICE: frozenset({NORTH, SOUTH}), OPERATOR: None}


def test_a_role_ends_for_one_unit_or_altogether() -> None:
    held = {OFFICE: frozenset({NORTH, SOUTH}), OPERATOR: None}
    assert revoked(held, OFFICE, NORTH) == {OFFICE: frozenset({SOUTH}), OPERATOR: None}
    assert revoked(held, OFFICE, None) == {OPERATOR: None}
    assert revoked({OFFICE: frozenset({NORTH})}, OFFICE, NORTH) == {}


def test_what_is_not_held_cannot_be_taken_away() -> None:
    cases: list[tuple[Held, UUID | None]] = [({}, None), ({OFFICE: frozenset({NORTH})}, SOUTH)]
    for held, unit in cases:
        with pytest.raises(NotHeldError):
            revoked(held, OFFICE, unit)
    with pytest.raises(HeldEverywhereError):
        revoked({OFFICE: None}, OFFICE, NORTH)


def test_only_operators_make_operators() -> None:
    assert grantors(OPERATOR) == (OPERATOR,)
    assert OFFICE in grantors(Role.hr_integration)
