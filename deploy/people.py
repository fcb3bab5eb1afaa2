"""People and units as somebody at the console calls them, and the role that the console gives."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from deploy.output import fail
from shared.events import Role

if TYPE_CHECKING:
    from services.enrolment.people.domain import Person


async def give(person: str, role: Role, unit: str | None, data: Path | None) -> dict[str, Any]:
    """Give the role; tells who holds what now. Ends the command when person or unit is not known."""
    from deploy.console import database_of
    from services.enrolment.access import actions
    from services.enrolment.access.domain import state_of
    from shared.postgres.transaction import transaction

    async with database_of("enrolment", data) as (pool, clock), transaction(pool) as conn:
        unit_id = await unit_named(conn, unit) if unit is not None else None
        whom = (await person_called(conn, person)).id
        access = await actions.grant(conn, actions.CONSOLE, whom, role, unit_id, now=clock.now())
    return {"name": access.name, **state_of(access).model_dump(mode="json", include={"principal", "roles"})}


async def person_called(conn: Any, text: str) -> "Person":
    """The one person of this employee id or login; ends the command when there is none or several."""
    from services.enrolment.people.store import person_named

    found = await person_named(conn, text)
    if not found:
        fail(f"Nobody has the employee id or login {text}. Import the people first: medled hr import FILE")
    if len(found) > 1:
        logins = ", ".join(each.login or "none" for each in found)
        fail(f"{len(found)} people go by {text}, from different sources. Name one by login: {logins}")
    return found[0]


async def unit_named(conn: Any, text: str) -> UUID:
    """The one unit of this name or path; ends the command when there is none or several."""
    from services.enrolment.imports.report import unit_names
    from services.enrolment.people.store import units

    all_units = await units(conn)
    paths = unit_names(all_units, " - ")
    found = [unit_id for unit_id, path in paths.items() if path == text]
    found = found or [unit.id for unit in all_units if unit.name == text]
    if not found:
        fail(f"There is no unit {text}.{_suggestion(text, paths.values())} All units: medled units list")
    if len(found) > 1:
        fail(f"Several units are called {text}; say which: {'; '.join(sorted(paths[each] for each in found))}")
    return found[0]


def _suggestion(text: str, paths: Iterable[str]) -> str:
    """The units that are called almost so, or nothing."""
    called: dict[str, str] = {}
    for path in sorted(paths, reverse=True):
        for name in (path, path.rpartition(" - ")[2]):
            called[name.casefold()] = path
    near = get_close_matches(text.casefold(), called, n=3, cutoff=0.7)
    found = list(dict.fromkeys(called[name] for name in near))
    return f" Did you mean {' or '.join(found)}?" if found else ""
