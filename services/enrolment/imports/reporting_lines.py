"""Who reports to whom after an import: managers by employee id, in any order, and never in a circle."""

from collections.abc import Collection, Iterator, Mapping

from services.enrolment.imports.domain import Known
from services.enrolment.imports.issues import Issue, Issues
from services.enrolment.imports.rows import Row
from services.enrolment.imports.sentences import Sentence

_MOST_STEPS = 20  # of a circle, told to each who is in it


def resolve(
    rows: Mapping[str, Row], known: Mapping[str, Known], leaving: Collection[str], column: str | None
) -> tuple[dict[str, str | None], Issues]:
    """The manager's employee id of every row that names one or says there is none, and what was wrong with the others.

    A manager who is unknown, has left, is the person or is one of the person's own people becomes none: the person is
    imported all the same. Rows that say nothing (no such column) are left out.
    """
    staying = rows.keys() | {who for who, person in known.items() if person.status != "inactive" and who not in leaving}
    managers: dict[str, str | None] = {}
    issues = Issues()
    for who, row in rows.items():
        manager = row.manager
        if manager is None:
            continue
        if manager in staying and manager != who:
            managers[who] = manager
            continue
        managers[who] = None
        problem = _problem(who, manager, known, leaving)
        if problem is not None:
            issues.add(Issue("warning", row.line, column, who, problem))
    for circle in _circles(_lines_of(managers, known, staying)):
        for place, who in enumerate(circle):
            if who in managers:
                managers[who] = None
                circular = Sentence("manager_circle", {"path": _path(circle, place)})
                issues.add(Issue("warning", rows[who].line, column, who, circular))
    return managers, issues


def in_circles(rows: Mapping[str, Row], known: Mapping[str, Known], leaving: Collection[str]) -> set[str]:
    """Everybody who would be in a circle if all had the managers that their rows ask for."""
    asked = {who: row.manager for who, row in rows.items() if row.manager is not None}
    staying = rows.keys() | {who for who, person in known.items() if person.status != "inactive" and who not in leaving}
    return {who for circle in _circles(_lines_of(asked, known, staying)) for who in circle}


def _lines_of(
    managers: Mapping[str, str | None], known: Mapping[str, Known], staying: Collection[str]
) -> dict[str, str | None]:
    """`managers`, and those of everybody else who stays."""
    others = {who: person.manager for who, person in known.items() if who in staying and who not in managers}
    return {**others, **managers}


def _problem(who: str, manager: str, known: Mapping[str, Known], leaving: Collection[str]) -> Sentence | None:
    """Why somebody who does not stay, or is the same person, cannot be the manager; nothing is wrong with nobody."""
    if not manager:
        return None
    if manager == who:
        return Sentence("manager_self")
    if manager in known or manager in leaving:
        return Sentence("manager_left", {"manager": manager})
    return Sentence("manager_unknown", {"manager": manager})


def _circles(managers: Mapping[str, str | None]) -> Iterator[list[str]]:
    """Every circle once. Each person has one manager, so walking up visits everybody once."""
    seen: dict[str, int] = {}
    for walk, start in enumerate(managers):
        if start in seen:
            continue
        path: list[str] = []
        who: str | None = start
        while who is not None and who not in seen:
            seen[who] = walk
            path.append(who)
            who = managers.get(who)
        if who is not None and seen[who] == walk:
            yield path[path.index(who) :]


def _path(circle: list[str], place: int) -> str:
    """The circle from one of its people round to the same one again; of a long one, only the beginning."""
    steps = min(len(circle), _MOST_STEPS)
    path = [circle[(place + step) % len(circle)] for step in range(steps)]
    return " -> ".join([*path, *(["..."] if steps < len(circle) else []), circle[place]])
