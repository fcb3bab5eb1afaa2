"""`medled token`: issue a machine's token."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.output import DataOption, JsonOption, note, show_json
from shared.events import Role


def token(
    role: Annotated[Role, typer.Option(help="The role it carries.")],
    name: Annotated[str, typer.Option(help="What operators will know it by.")] = "command line",
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is good.")] = 365,
    unit: Annotated[str | None, typer.Option(help="Only for this unit and all below it; everywhere without.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a token for a machine and print it. It is shown this once: what is stored is its hash.

    Writes to enrolment's database itself and is audited. Other services know the token as soon as they have the event.
    """
    issued = asyncio.run(_issue(role, name, days, unit, data))
    if as_json:
        show_json(issued)
        return
    typer.echo(issued["token"])  # alone on stdout, so that a shell can catch it
    until = f"{issued['expires_at']:%Y-%m-%d %H:%M} UTC"
    note(f"{issued['principal']}, {role.value}, good until {until}. It is not shown again.")


async def _issue(role: Role, name: str, days: int, unit: str | None, data: Path | None) -> dict[str, Any]:
    from deploy.console import database_of
    from deploy.people import unit_named
    from services.enrolment.access import actions
    from shared.postgres.transaction import transaction

    async with database_of("enrolment", data) as (pool, clock), transaction(pool) as conn:
        now = clock.now()
        units = [await unit_named(conn, unit)] if unit is not None else None
        text, access = await actions.issue(
            conn, actions.CONSOLE, name, role, units, expires_at=now + timedelta(days=days), now=now
        )
    return {"token": text, "principal": access.principal, "role": role.value, "expires_at": access.expires_at}
