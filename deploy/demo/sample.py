"""The sample organisation: who works where, and who does what in the demo."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parents[1] / "sample"
PEOPLE_FILE = FOLDER / "people.csv"

OFFICE, OPERATOR, CO_LEADER = "sofia.rahimi", "jonas.wallin", "amina.hussein"
_SMALLEST_TEAM = 6


@dataclass(frozen=True, slots=True)
class Colleague:
    """One person of the export."""

    employee_id: str
    name: str
    login: str
    email: str
    title: str
    unit: str
    manager_id: str
    at_work: bool


@dataclass(frozen=True)
class Organisation:
    """Everybody, by employee id and by login."""

    people: Sequence[Colleague]

    @cached_property
    def by_login(self) -> Mapping[str, Colleague]:
        return {person.login: person for person in self.people}

    @cached_property
    def by_address(self) -> Mapping[str, Colleague]:
        return {person.email: person for person in self.people}

    @cached_property
    def by_id(self) -> Mapping[str, Colleague]:
        return {person.employee_id: person for person in self.people}

    @cached_property
    def units(self) -> frozenset[str]:
        """The path of every unit, those that only hold other units included."""
        paths = {tuple(person.unit.split(" - ")) for person in self.people}
        return frozenset(" - ".join(path[: depth + 1]) for path in paths for depth in range(len(path)))

    def manager_of(self, person: Colleague) -> Colleague:
        return self.by_id[person.manager_id]

    def peers_of(self, person: Colleague) -> list[Colleague]:
        """Who has the same manager and is at work."""
        return [p for p in self.people if p.manager_id == person.manager_id and p.at_work and p != person]

    def teams(self) -> list[list[Colleague]]:
        """Everybody at work who shares a manager, team by team, in the order of employee ids; teams of six and more."""
        teams: dict[str, list[Colleague]] = {}
        for person in sorted(self.people, key=lambda p: p.employee_id):
            if person.at_work and person.manager_id:
                teams.setdefault(person.manager_id, []).append(person)
        return [team for team in teams.values() if len(team) >= _SMALLEST_TEAM]


@dataclass(frozen=True)
class Cast:
    """Who does what. Lists of people in the order they act."""

    organisation: Organisation

    @cached_property
    def applicants(self) -> list[Colleague]:
        """Two of each team but the programme office's own; the demo's co-leader first."""
        teams = [team for team in self.organisation.teams() if OFFICE not in {p.login for p in team}]
        two_each = [team[place] for place in (0, 1) for team in teams]
        return sorted(two_each, key=lambda p: p.login != CO_LEADER)

    @property
    def declined(self) -> list[Colleague]:
        return self.applicants[-2:]

    @property
    def unanswered(self) -> Colleague:
        """Asked a manager who never finds the time."""
        return self.applicants[-3]

    @property
    def approved(self) -> list[Colleague]:
        return self.applicants[:-3]

    @property
    def later_applicants(self) -> list[Colleague]:
        """Ask for the next cohort: left for whoever tries the demo to approve."""
        team = next(t for t in self.organisation.teams() if CO_LEADER in {p.login for p in t})
        return [p for p in team if p not in self.applicants][:3]


def load_organisation() -> Organisation:
    """The people of the sample export."""
    with PEOPLE_FILE.open(encoding="utf-8", newline="") as file:
        return Organisation([_colleague(row) for row in csv.DictReader(file)])


def load_programme() -> dict[str, Any]:
    """The sample programme and its cohorts."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / "programme.yaml").read_text(encoding="utf-8"))
    return found


def _colleague(row: Mapping[str, str]) -> Colleague:
    return Colleague(
        employee_id=row["Employee ID"],
        name=f"{row['Legal First Name']} {row['Legal Last Name']}",
        login=row["User Name"],
        email=row["Work Email"],
        title=row["Business Title"],
        unit=row["Supervisory Organization"],
        manager_id=row["Manager Employee ID"],
        at_work=row["Worker Status"] == "Active",
    )
