"""What an import tells: the form that is stored, served and printed."""

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from services.enrolment.imports.issues import MOST_KEPT, Issue, Issues
from services.enrolment.imports.refusal import FileRefusedError
from services.enrolment.imports.sentences import Phrase, Sentence, Value
from services.enrolment.imports.store.teams import Team
from services.enrolment.people.domain import Person, Unit, path_of

MOST_LISTED = 50  # people of each kind
MOST_ISSUES = MOST_KEPT
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
    """Something to put right in the file, in English; with `sentence` it can be said in another language."""

    severity: Literal["error", "warning"]
    code: str
    line: int
    column: str | None
    employee_id: str | None
    detail: str
    remedy: str
    sentence: Sentence | None = None


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
    sentence: Sentence | None = None


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
    note_sentences: list[Sentence] = []
    refusal: Refusal | None = None
    failure: Refusal | None = None

    def tell(self, issues: Issues) -> None:
        """Tell these issues, errors before warnings, each in the order of the file."""
        self.issues = [_told(issue) for issue in issues[:MOST_ISSUES]]
        self.more_issues = issues.total - len(self.issues)

    def tell_of_logins(self, without: int) -> None:
        """Tell what somebody signs in with of whom the file says no login, and where their logins may stand."""
        if not without:
            return
        self.note("without_login.one" if without == 1 else "without_login.other", people=without)
        if (column := self.suggested_login_column) is not None:
            self.note("login_column", column=column, quoted=json.dumps(column, ensure_ascii=False))

    def note(self, key: str, **values: Value) -> None:
        """Tell something that is no issue of a line."""
        sentence = Sentence(f"note.{key}", values)
        self.note_sentences.append(sentence)
        self.notes.append(f"{sentence.detail()} {sentence.remedy()}")


def _told(issue: Issue) -> IssueTold:
    return IssueTold(
        severity=issue.severity, code=issue.code, line=issue.line, column=issue.column, employee_id=issue.employee_id,
        detail=issue.detail, remedy=issue.remedy, sentence=issue.sentence,
    )  # fmt: skip


def refusal(problem: FileRefusedError) -> Refusal:
    return _why(problem.sentence)


def _why(sentence: Sentence) -> Refusal:
    return Refusal(code=sentence.code, detail=sentence.detail(), remedy=sentence.remedy(), sentence=sentence)


def interrupted(phase: str, attempts: int) -> Refusal:
    """Its process ended under it, again and again."""
    return _why(Sentence("interrupted", {"attempts": attempts, "phase": Phrase(f"while.{phase}")}))


def too_slow(limit: timedelta) -> Refusal:
    return _why(Sentence("too_slow", {"minutes": f"{limit.total_seconds() / 60:g}"}))


def fault_of_ours() -> Refusal:
    return _why(Sentence("fault"))


def unit_names(units: Iterable[Unit], separator: str) -> dict[UUID, str]:
    """Each unit's path as the HR platform writes it."""
    by_id = {unit.id: unit for unit in units}
    return {unit_id: separator.join(path_of(unit, by_id)) for unit_id, unit in by_id.items()}


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
