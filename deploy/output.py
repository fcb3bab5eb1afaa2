"""How commands speak: plain lines for people, one JSON document for programs, an honest exit status."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.cells import cell_len
from rich.console import Console

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
    """Rows for a person; says nothing when there are none. Numbers stand on the right; nothing is cut or folded."""
    if not rows:
        return
    cells = list(zip(*[[str(cell) for cell in row] for row in rows], strict=True))
    widths = [max(map(cell_len, (name, *texts))) for name, texts in zip(columns, cells, strict=True)]
    to_right = [_are_numbers(values) for values in zip(*rows, strict=True)]

    def line(texts: Sequence[str]) -> str:
        gaps = [" " * (width - cell_len(text)) for text, width in zip(texts, widths, strict=True)]
        padded = [gap + text if right else text + gap for text, gap, right in zip(texts, gaps, to_right, strict=True)]
        return "  ".join(padded).rstrip()  # blanks up to the longest line of all would wrap in a terminal

    if any(columns):
        _out.print(line(columns), markup=False, style="bold")
    for texts in zip(*cells, strict=True):
        say(line(texts))


def _are_numbers(values: Sequence[object]) -> bool:
    return all(isinstance(value, int) or value == "" for value in values) and any(value != "" for value in values)


def many(count: int, thing: str) -> str:
    """How many of it: `1 record`, `2 records`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def fail(message: str, status: int = 1) -> NoReturn:
    """End the command: the message on stderr, the exit status not zero."""
    _err.print(message, markup=False, style="red" if _err.is_terminal else None)
    raise typer.Exit(status)
