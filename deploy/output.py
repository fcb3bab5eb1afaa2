"""How commands speak: plain lines for people, one JSON document for programs, an honest exit status."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Data directory of the embedded stack [MEDLED_DATA, else .medled]."),
]

_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)
# A console's own width is the widest that a table can be: an id that was cut is of no use, and terminals wrap.
_tables = Console(highlight=False, soft_wrap=True, width=10_000)


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
    """Rows for a person; says nothing when there are none. Numbers stand on the right; nothing is cut or folded."""
    if not rows:
        return
    view = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
        numbers = all(isinstance(cell, int) or cell == "" for cell in cells) and any(cell != "" for cell in cells)
        view.add_column(column, justify="right" if numbers else "left", no_wrap=True)
    for row in rows:
        view.add_row(*(escape(str(cell)) for cell in row))
    _tables.print(view)


def fail(message: str, status: int = 1) -> NoReturn:
    """End the command: the message on stderr, the exit status not zero."""
    _err.print(message, markup=False, style="red" if _err.is_terminal else None)
    raise typer.Exit(status)
