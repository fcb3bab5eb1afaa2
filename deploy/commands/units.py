"""`medled units`: the organisation's tree, as the HR files have built it."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import typer

from deploy.output import DataOption, JsonOption, say, show_json

if TYPE_CHECKING:
    from services.enrolment.people.domain import Unit

app = typer.Typer(help="The organisation's units.", no_args_is_help=True)


@app.callback()
def units() -> None:
    """The organisation's units."""


@app.command(name="list")
def list_(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Every unit, each below the one it belongs to. `--unit` of other commands takes a name or a path of this list."""
    found = asyncio.run(_units(data))
    if as_json:
        show_json(found)
    elif found:
        for unit in found:
            merged = f" (merged into {unit['merged_into']})" if unit["merged_into"] else ""
            say("  " * unit["depth"] + unit["name"] + merged)
    else:
        say("There are no units yet; they come with the people: medled hr import FILE")


async def _units(data: Path | None) -> list[dict[str, Any]]:
    from deploy.console import database_of
    from services.enrolment.imports.report import unit_names
    from services.enrolment.people import store
    from shared.postgres.transaction import transaction

    async with database_of("enrolment", data) as (pool, _), transaction(pool) as conn:
        units = await store.units(conn)
    paths = unit_names(units, " - ")
    return [
        {
            "id": unit.id, "name": unit.name, "path": paths[unit.id], "depth": depth,
            "merged_into": paths.get(unit.merged_into) if unit.merged_into else None,
        }
        for unit, depth in _tree(units)
    ]  # fmt: skip


def _tree(units: "Sequence[Unit]") -> "Iterator[tuple[Unit, int]]":
    """Every unit with its depth, the ones below it right behind it, by name."""
    below: dict[UUID | None, list[Unit]] = defaultdict(list)
    for unit in sorted(units, key=lambda unit: unit.name.casefold(), reverse=True):
        below[unit.parent_id].append(unit)
    waiting = [(unit, 0) for unit in below[None]]
    while waiting:
        unit, depth = waiting.pop()
        yield unit, depth
        waiting += [(each, depth + 1) for each in below[unit.id]]
