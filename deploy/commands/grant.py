"""`medled grant`: give a person a role, also the first one, when nobody holds any."""

import asyncio
from typing import Annotated

import typer

from deploy.output import DataOption, JsonOption, say, show_json
from shared.events import Role


def grant(
    person: Annotated[str, typer.Option(help="Employee id or login.")],
    role: Annotated[Role, typer.Option(help="The role.")],
    unit: Annotated[
        str | None, typer.Option(help='Only for this unit and all below it: its name, or its path as in "Care - Home".')
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a person a role. Writes to enrolment's database itself, is audited, and may be repeated.

    Exit status: 0 when the person holds the role, 1 when the person or the unit is not known.
    """
    from deploy.people import give

    held = asyncio.run(give(person, role, unit, data))
    if as_json:
        show_json(held)
    else:
        where = "everywhere" if unit is None else f"for {unit} and all below it"
        say(f"{held['name']} now holds {role.value} {where}.")
