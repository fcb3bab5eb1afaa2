"""What an import tells: the form that is stored, served and printed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from services.enrolment.imports.checking import Issue
from services.enrolment.imports.refusal import FileRefused
from services.enrolment.imports.store.teams import Team
from services.enrolment.people.domain import Person, Unit

MOST_LISTED = 50  # people of each kind
MOST_ISSUES = 500
_MOST_UNITS = 5  # of a team

Kind = Literal["joined", "left", "returned", "moved", "manager", "changed"]


class FileRead(BaseModel):
    """How the file was understood."""

    encoding: str
    encoding_guessed: bool
    delimiter: str
    columns: dict[str, str]
    unused_columns: list[str]


class IssueTold(BaseModel):
    """Something to put right in the file."""

    severity: Literal["error", "warning"]
    code: str
    line: int
    column: str | None
    employee_id: str | None
    detail: str
    remedy: str


class FieldChange(BaseModel):
    before: str | None
    after: str | None


class PersonChange(BaseModel):
    """One person who changes, in the words of the HR platform."""

    employee_id: str
    name: str
    fields: dict[str, FieldChange] = {}


class TeamChange(BaseModel):
    """A team of which much changes at once: whose it is, and how many it has before and after.

    changed: who joins or leaves it, or gets another status or unit, in this file and those of the last 24 hours.
    """

    employee_id: str
    name: str
    units: list[str]
    changed: int
    before: int
    after: int


class Refusal(BaseModel):
    """Why nothing of the file was applied, and what to do: a refusal for what the file says, a failure for all else."""

    code: str
    detail: str
    remedy: str


class Report(BaseModel):
    """The report of one import. `difference` lists at most 50 people of each kind, `counts` of the import all.

    teams: at most 50 of those that are told to the programme office, unless it is a dry run.

    suggested_login_column: where no column is read as the login, one whose values look like user names or addresses.
    """

    file: FileRead | None = None
    difference: dict[Kind, list[PersonChange]] = {}
    new_units: list[str] = []
    teams: list[TeamChange] = []
    issues: list[IssueTold] = []
    more_issues: int = 0
    withheld_deactivations: int = 0
    suggested_login_column: str | None = None
    notes: list[str] = []
    refusal: Refusal | None = None
    failure: Refusal | None = None

    def tell(self, issues: Sequence[Issue]) -> None:
        """Tell these issues, errors before warnings, each in the order of the file."""
        ordered = sorted(issues, key=lambda issue: (issue.severity != "error", issue.line))[:MOST_ISSUES]
        self.issues = [IssueTold.model_validate(asdict(issue)) for issue in ordered]
        self.more_issues = len(issues) - len(ordered)

    def tell_of_logins(self, without: int) -> None:
        """Tell what somebody signs in with of whom the file says no login, and where their logins may stand."""
        if not without:
            return
        self.notes.append(
            f"{without:,} {'person has' if without == 1 else 'people have'} no login in the file: the employee id is "
            "the login, and the account of the identity provider must be called that."
        )
        if (column := self.suggested_login_column) is not None:
            self.notes.append(
                f"Column {column} looks like logins. If accounts are called so, send a mapping file with "
                f"columns.login = {json.dumps(column, ensure_ascii=False)}."
            )


def refusal(problem: FileRefused) -> Refusal:
    return Refusal(code=problem.code, detail=problem.detail, remedy=problem.remedy)


_PHASES = {
    "queued": "before it had read anything", "reading": "while it read the file", "checking": "while it checked rows",
    "comparing": "while it compared the file with who is known", "writing": "while it wrote the changes",
    "announcing": "while it announced the changes",
}  # fmt: skip


def interrupted(phase: str, attempts: int) -> Refusal:
    """Its process ended under it, again and again."""
    return Refusal(
        code="interrupted",
        detail=f"The worker's process was ended {attempts} times in the middle of this import, the last time "
        f"{_PHASES.get(phase, 'at ' + phase)}.",
        remedy="Most often it has too little memory: give enrolment's worker more (the operations guide says how much "
        "for how many people), then send the file again.",
    )


def too_slow(limit: timedelta) -> Refusal:
    minutes = limit.total_seconds() / 60
    return Refusal(
        code="too_slow",
        detail=f"Reading and checking the file took longer than {minutes:g} minutes.",
        remedy="Look at the file: is it one export, and nothing else? A larger one needs a higher "
        "MEDLED_IMPORT_MINUTES.",
    )


def fault_of_ours() -> Refusal:
    return Refusal(
        code="fault",
        detail="The import failed for a reason of ours, which the worker's log tells.",
        remedy="Tell whoever operates Medled, and send the file again when it is mended.",
    )


def unit_names(units: Iterable[Unit], separator: str) -> dict[UUID, str]:
    """Each unit's path as the HR platform writes it."""
    by_id = {unit.id: unit for unit in units}

    def path(unit: Unit) -> str:
        parent = by_id.get(unit.parent_id) if unit.parent_id else None
        return unit.name if parent is None else f"{path(parent)}{separator}{unit.name}"

    return {unit_id: path(unit) for unit_id, unit in by_id.items()}


def difference(
    sample: Iterable[tuple[str, Person, Person | None]], names: Mapping[UUID, str], employee_ids: Mapping[UUID, str]
) -> dict[Kind, list[PersonChange]]:
    """The readable difference: units by their path, managers by their employee id."""
    kinds: dict[Kind, list[PersonChange]] = {
        "joined": [], "left": [], "returned": [], "moved": [], "manager": [], "changed": [],
    }  # fmt: skip
    for kind, after, before in sample:
        was, becomes = (_readable(person, names, employee_ids) if person else {} for person in (before, after))
        name = f"{after.given_name} {after.family_name}".strip()
        kinds[kind].append(PersonChange(employee_id=after.employee_id, name=name, fields=_fields(was, becomes)))  # type: ignore[index]
    return {kind: people for kind, people in kinds.items() if people}


def teams(changing: Iterable[Team], names: Mapping[UUID, str]) -> list[TeamChange]:
    """The teams in the words of the HR platform, of each the first few units."""
    return [
        TeamChange(
            employee_id=team.employee_id, name=team.name, changed=team.changed, before=team.before, after=team.after,
            units=sorted(names[unit_id] for unit_id in team.unit_ids)[:_MOST_UNITS],
        )
        for team in changing
    ]  # fmt: skip


def _readable(person: Person, names: Mapping[UUID, str], employee_ids: Mapping[UUID, str]) -> dict[str, str | None]:
    manager = employee_ids.get(person.manager_id, str(person.manager_id)) if person.manager_id else None
    return {
        "given_name": person.given_name,
        "family_name": person.family_name,
        "email": person.email,
        "title": person.title,
        "grade": person.grade,
        "unit": names.get(person.unit_id),
        "manager": manager,
        "status": person.status.value,
        "locale": person.locale,
        "time_zone": person.time_zone,
        "login": person.login,
    }


def _fields(before: Mapping[str, str | None], after: Mapping[str, str | None]) -> dict[str, FieldChange]:
    return {name: FieldChange(before=was, after=after[name]) for name, was in before.items() if was != after[name]}
