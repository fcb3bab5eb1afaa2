"""The rules of an import that need no file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enrolment.imports import logins, reporting_lines
from services.enrolment.imports.domain import Cap, Known
from services.enrolment.imports.refusal import FileRefusedError
from services.enrolment.imports.rows import Row
from shared.events import PersonStatus

ACTIVE, ON_LEAVE, INACTIVE = PersonStatus.active, PersonStatus.on_leave, PersonStatus.inactive


def row(who: str, manager: str | None = None, login: str | None = None) -> Row:
    return Row(2, who, "Anna", "Berg", ("Care",), manager=manager, login=login)


def known(who: str, manager: str | None = None, status: PersonStatus = ACTIVE) -> Known:
    return Known(status, None, manager, who)


def rows(**managers: str) -> dict[str, Row]:
    return {who: row(who, manager) for who, manager in managers.items()}


@pytest.mark.parametrize(
    ("text", "active", "allowed"),
    [
        ("10%", 13_094, 1_309),
        ("25 %", 13_094, 3_273),
        ("12,5%", 8, 1),
        ("0%", 100, 0),
        ("40", 10, 40),
        ("29%", 100, 29),
    ],
)
def test_a_cap_is_a_share_of_those_active_or_a_number(text: str, active: int, allowed: int) -> None:
    assert Cap.parse(text).allows(active) == allowed


@pytest.mark.parametrize("text", ["", "%", "-1", "101%", "1.5", "ten", "10%%", "1e3", "nan%", "٣%%"])
def test_a_cap_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="share"):
        Cap.parse(text)


def test_the_cap_lets_through_what_it_allows_and_names_the_numbers_of_what_it_refuses() -> None:
    Cap.parse("25%").judge(2_613, 13_094)
    with pytest.raises(FileRefusedError) as refused:
        Cap.parse("10%").judge(2_613, 13_094)
    assert "2,613 of 13,094 people (20.0 %)" in refused.value.detail
    assert "2613" in refused.value.remedy


def test_nobody_leaves_an_organisation_that_is_still_empty() -> None:
    Cap.parse("0%").judge(0, 0)


def test_a_manager_may_stand_anywhere_in_the_file_or_be_known_already() -> None:
    managers, issues = reporting_lines.resolve(rows(a="b", b="", c="k"), {"k": known("k")}, set(), "Chef")
    assert managers == {"a": "b", "b": None, "c": "k"}
    assert not issues


@pytest.mark.parametrize(
    ("manager", "code"),
    [("a", "manager_self"), ("nobody", "manager_unknown"), ("gone", "manager_left"), ("going", "manager_left")],
)
def test_a_manager_who_cannot_be_one_is_reported_and_the_person_kept_without(manager: str, code: str) -> None:
    before = {"gone": known("gone", status=INACTIVE), "going": known("going")}
    managers, issues = reporting_lines.resolve(rows(a=manager), before, {"going"}, "Manager ID")
    assert managers == {"a": None}
    assert [(issue.code, issue.line, issue.column, issue.employee_id) for issue in issues] == [
        (code, 2, "Manager ID", "a")
    ]


def test_a_circle_is_cut_for_everybody_in_it_and_for_nobody_else() -> None:
    managers, issues = reporting_lines.resolve(rows(a="b", b="c", c="a", d="a", e="d"), {}, set(), None)
    assert managers == {"a": None, "b": None, "c": None, "d": "a", "e": "d"}
    assert {issue.employee_id for issue in issues} == {"a", "b", "c"}
    assert "a -> b -> c -> a" in issues[0].detail


def test_a_circle_that_closes_through_people_outside_the_file_is_seen() -> None:
    managers, issues = reporting_lines.resolve(rows(a="k"), {"k": known("k", "l"), "l": known("l", "a")}, set(), None)
    assert managers == {"a": None}
    assert [issue.code for issue in issues] == ["manager_circle"]


def test_without_a_manager_column_nothing_is_said_of_managers() -> None:
    managers, issues = reporting_lines.resolve({"a": row("a")}, {"a": known("a", "b")}, set(), None)
    assert managers == {}
    assert not issues


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["", *"abcdefghx"])))
def test_reporting_lines_never_end_in_a_circle(said: dict[str, str]) -> None:
    managers, _ = reporting_lines.resolve({who: row(who, manager) for who, manager in said.items()}, {}, set(), None)
    for start in managers:
        walked, who = 0, managers.get(start)
        while who is not None:
            walked, who = walked + 1, managers.get(who)
            assert walked <= len(managers)


def test_the_login_is_what_the_file_says_else_what_it_was_else_the_employee_id() -> None:
    before = {"b": Known(ACTIVE, None, None, "berit")}
    settled, issues = logins.settle(
        {"a": row("a", login="anna"), "b": row("b"), "c": row("c")}, before, set(), set(), None
    )
    assert settled == {"a": "anna", "b": "berit", "c": "c"}
    assert not issues


def test_two_people_may_swap_their_logins() -> None:
    before = {"a": Known(ACTIVE, None, None, "x"), "b": Known(ACTIVE, None, None, "y")}
    settled, issues = logins.settle({"a": row("a", login="y"), "b": row("b", login="x")}, before, set(), set(), None)
    assert settled == {"a": "y", "b": "x"}
    assert not issues


def test_a_login_asked_for_twice_is_given_to_neither() -> None:
    before = {"a": Known(ACTIVE, None, None, "anna")}
    settled, issues = logins.settle({"a": row("a", login="x"), "b": row("b", login="x")}, before, set(), set(), "Login")
    assert settled == {"a": "anna", "b": None}
    assert {issue.employee_id for issue in issues} == {"a", "b"}


def test_a_login_that_somebody_keeps_cannot_be_taken() -> None:
    before = {"a": Known(ACTIVE, None, None, "anna"), "kept": Known(ON_LEAVE, None, None, "old")}
    asked = {"a": row("a"), "b": row("b", login="anna"), "c": row("c", login="old"), "d": row("d", login="elsewhere")}
    settled, issues = logins.settle(asked, before, set(), {"elsewhere"}, None)
    assert settled == {"a": "anna", "b": None, "c": None, "d": None}
    assert {issue.employee_id for issue in issues} == {"b", "c", "d"}


def test_whoever_has_left_or_is_leaving_holds_no_login_back() -> None:
    before = {"gone": Known(INACTIVE, None, None, "old"), "going": Known(ACTIVE, None, None, "new")}
    asked = {"a": row("a", login="old"), "b": row("b", login="new")}
    settled, issues = logins.settle(asked, before, {"going"}, set(), None)
    assert settled == {"a": "old", "b": "new"}
    assert not issues
