"""The mapping file: what an organisation calls its columns and statuses, and how its export is written."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import yaml

from services.enrolment.imports import encodings
from services.enrolment.imports.columns import NAMES, FieldName, folded
from services.enrolment.imports.refusal import FileRefusedError

StatusWord = Literal["active", "on_leave", "inactive"]

_KEYS = ("columns", "statuses", "delimiter", "encoding")
_STATUSES = ("active", "on_leave", "inactive")
_SAME: Mapping[str, FieldName] = {"language": "locale"}  # as people say it, and as everything else here is named
_MOST_DOTS = 50  # in one line: a key of thousands of parts is read for minutes


@dataclass(frozen=True, slots=True)
class MappingFile:
    """Only what differs from the defaults needs to be said. A field with no names is in no column."""

    columns: Mapping[FieldName, list[str]] = field(default_factory=dict)
    statuses: Mapping[str, StatusWord] = field(default_factory=dict)
    delimiter: str | None = None
    encoding: str | None = None


def parse_mapping(text: str) -> MappingFile:
    """The mapping file `text`, TOML or YAML.

    Raises FileRefusedError that names key and line, and says what is allowed.
    """
    told = _toml_or_yaml(text)
    if not isinstance(told, dict):
        raise _wrong(text, None, "the file has no keys", _keys_allowed())
    for key in told:
        if key not in _KEYS:
            raise _unknown(text, str(key), "is no key of a mapping file", _KEYS, _keys_allowed())
    return MappingFile(
        _columns(text, told.get("columns", {})),
        _statuses(text, told.get("statuses", {})),
        _delimiter(text, told.get("delimiter")),
        _encoding(text, told.get("encoding")),
    )


def write_mapping(mapping: MappingFile) -> str | None:
    """The mapping file, in TOML, that says `mapping`; None when nothing differs from the defaults."""
    lines = [f"{key} = {_toml(value)}" for key in ("delimiter", "encoding") if (value := getattr(mapping, key))]
    if mapping.columns:
        lines += ["[columns]", *(f"{name} = {_toml(titles)}" for name, titles in mapping.columns.items())]
    if mapping.statuses:
        lines += ["[statuses]", *(f"{_toml(word)} = {_toml(status)}" for word, status in mapping.statuses.items())]
    return "\n".join(lines) + "\n" if lines else None


def _toml(value: str | list[str]) -> str:
    """JSON's strings and lists are TOML's, once the one character that only JSON allows as it is is escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _columns(text: str, told: object) -> dict[FieldName, list[str]]:
    if not isinstance(told, dict):
        raise _wrong(
            text, "columns", "columns is not a table", 'Write [columns] and below it, for example, email = "Mail".'
        )
    columns: dict[FieldName, list[str]] = {}
    for key, value in told.items():
        name = _SAME.get(str(key), cast(FieldName, key))
        if name not in NAMES:
            raise _unknown_field(text, str(key))
        if name in columns:
            raise _wrong(text, str(key), f"{key} and {name} are the same", "Keep one of them.")
        titles = [value] if isinstance(value, str) else value
        if not (isinstance(titles, list) and all(isinstance(title, str) for title in titles)):
            raise _wrong(
                text, str(key), f"columns.{key} is not the name of a column",
                f'Write the name, or several in the order to try: {key} = "Name" or {key} = ["Name", "Other name"]; '
                f"{key} = [] if no column holds it.",
            )  # fmt: skip
        columns[name] = titles
    return columns


def _statuses(text: str, told: object) -> dict[str, StatusWord]:
    if not isinstance(told, dict):
        raise _wrong(text, "statuses", "statuses is not a table", 'Write [statuses] and below it "Borta" = "on_leave".')
    for word, status in told.items():
        if status not in _STATUSES:
            raise _unknown(
                text, str(word), f"stands for {status!r}, which is no status", _STATUSES,
                f"A status is one of {', '.join(_STATUSES)}.", like=str(status),
            )  # fmt: skip
    return {str(word): status for word, status in told.items()}


def _delimiter(text: str, told: object) -> str | None:
    if told is None or (isinstance(told, str) and len(told) == 1 and told not in '"\r\n'):
        return told
    raise _wrong(
        text, "delimiter", f"delimiter is {told!r}", 'It is one character in quotes, for example ";" or "\\t".'
    )


def _encoding(text: str, told: object) -> str | None:
    if told is None:
        return None
    name = str(told)
    if isinstance(told, str) and encodings.python_name(name) is not None:
        return name
    meant = encodings.suggestion(name)
    raise FileRefusedError(
        "encoding.as_said",
        detail=f"{_place(text, 'encoding')}{name[:50]!r} is not an encoding that exports come in.",
        remedy=f"{f'Did you mean {meant}? ' if meant else ''}Use one of {encodings.ALLOWED}; or leave it out, and "
        "Medled detects it.",
    )


def _unknown_field(text: str, key: str) -> FileRefusedError:
    meant = next((name for name, titles in NAMES.items() if folded(key) in map(folded, titles.split(","))), None)
    allowed = ", ".join("language (or locale)" if name == "locale" else name for name in NAMES)
    return _unknown(
        text, key, "in columns is nothing that is read", [*NAMES, *_SAME], f"What is read: {allowed}.", meant=meant
    )


def _keys_allowed() -> str:
    return "A mapping file has the tables columns and statuses, and the keys delimiter and encoding."


def _unknown(
    text: str, key: str, what: str, known: Iterable[str], allowed: str, *, like: str | None = None,
    meant: str | None = None,
) -> FileRefusedError:  # fmt: skip
    close = difflib.get_close_matches((like or key)[:50].lower(), list(known), n=1, cutoff=0.6)
    meant = meant or (close[0] if close else None)
    return _wrong(text, key, f"{_quoted(key)} {what}", f"{f'Did you mean {meant}? ' if meant else ''}{allowed}")


def _wrong(text: str, key: str | None, what: str, remedy: str) -> FileRefusedError:
    return FileRefusedError("mapping.as_said", detail=f"In the mapping file, {_place(text, key)}{what}.", remedy=remedy)


def _quoted(key: str) -> str:
    return f"“{key[:50]}”"


def _place(text: str, key: str | None) -> str:
    """`line 3: ` where the key stands first, if it can be told."""
    if key is None:
        return ""
    # A key stands before = or :, behind a dot, or in the brackets of a table.
    pattern = re.compile(rf"""(?:^|[\s{{,.\["'])({re.escape(key)})["']?\s*[=:\].]""")
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.search(line[:500]):
            return f"line {number}: "
    return ""


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: a mapping needs none, and a few lines of them can stand for millions."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not understood here")
        return super().compose_node(parent, index)


def _toml_or_yaml(text: str) -> Any:
    for number, line in enumerate(text.splitlines(), 1):
        if line.count(".") > _MOST_DOTS:
            raise FileRefusedError(
                "mapping.as_said", detail=f"In the mapping file, line {number} has more than {_MOST_DOTS} dots.",
                remedy="No column or status needs so many: correct the line.",
            )  # fmt: skip
    # A number or a date that cannot be, and brackets without end, are not YAMLError or TOMLDecodeError.
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as toml:
        try:
            return yaml.load(text, _PlainLoader) or {}  # noqa: S506 - a SafeLoader with less
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise FileRefusedError(
                "mapping.as_said",
                detail=f"The mapping file is neither TOML ({_first_line(toml)}) nor YAML ({_first_line(error)}).",
                remedy="Correct the mapping file. In TOML, a word with other characters than A-Z, digits, - and _ "
                'stands in quotes: "Tjänstledig" = "on_leave".',
            ) from error


def _first_line(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem or error.context}"[:200]
    return (str(error) or type(error).__name__).splitlines()[0][:200]
