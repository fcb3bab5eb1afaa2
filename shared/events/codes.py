"""What the codes mean that stand in events, in the APIs and on pages. `codes.toml` has them, for people."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("codes.toml")

Meanings = Mapping[str, Mapping[str, str]]
"""Each code with what it means, by language."""


@cache
def code_sets() -> Mapping[str, Meanings]:
    """Every set of codes by its name, `delivery_reason` for one; a field's schema names it as `x-medled-codes`."""
    found: Mapping[str, Meanings] = _file()["code"]
    return found


@cache
def titles() -> Meanings:
    """What each set of codes is called."""
    found: Meanings = _file()["code_set"]
    return found


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))
