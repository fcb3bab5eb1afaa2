"""How commands speak: plain lines for people, one JSON document for programs, an honest exit status."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Data directory of the embedded stack [MEDLED_DATA, else .medled]."),
]

_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """One line for a person."""
    _out.print(line, markup=False)


def note(line: str) -> None:
    """One line about progress, on stderr: never part of the result."""
    _err.print(line, markup=False, style="dim")


def show_json(value: Any) -> None:
    """The result as one JSON document."""
    typer.echo(json.dumps(value, default=str, ensure_ascii=False, indent=2))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows for a person; says nothing when there are none."""
    if not rows:
        return
    view = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        view.add_row(*(str(cell) for cell in row))
    _out.print(view)


def fail(message: str, status: int = 1) -> NoReturn:
    """End the command: the message on stderr, the exit status not zero."""
    _err.print(message, markup=False, style="red" if _err.is_terminal else None)
    raise typer.Exit(status)
