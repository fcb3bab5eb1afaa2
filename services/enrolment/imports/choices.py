"""What a person may choose about a file on its page, and what a form with such choices means as options."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from services.enrolment.imports.columns import NAMES, REQUIRED, FieldName, Header, read_header
from services.enrolment.imports.encodings import EVERY, python_name, said
from services.enrolment.imports.head import Head
from services.enrolment.imports.mapping import MappingFile, StatusWord
from services.enrolment.imports.report import Report

FIELDS: tuple[FieldName, ...] = tuple(NAMES)
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
STATUSES: tuple[StatusWord, ...] = ("active", "on_leave", "inactive")
_MOST_WORDS = 30
_MOST_STATUSES = 200  # words for statuses to choose for; a mapping file may have thousands


@dataclass(frozen=True, slots=True)
class Choices:
    """What was chosen so far: places of columns by field, and the meanings of words for statuses, None where unknown.

    encoding and delimiter: None while they are guessed.
    """

    columns: Mapping[FieldName, int]
    statuses: Mapping[str, StatusWord | None]
    encoding: str | None
    delimiter: str | None


@dataclass(slots=True)
class Chosen:
    """A form that was read: the mapping it stands for, and by field what is wrong with it, each a text's key."""

    mapping: MappingFile
    errors: dict[str, str] = field(default_factory=dict)


def choices(mapping: MappingFile, head: Head, report: Report) -> Choices:
    """How things stand before anybody chooses."""
    words: dict[str, StatusWord | None] = dict.fromkeys(_unknown_words(report))
    known = dict(islice(mapping.statuses.items(), _MOST_STATUSES))
    return Choices(
        columns=head.header.places,
        statuses={**known, **{word: None for word in words if word not in mapping.statuses}},
        encoding=said(mapping.encoding) if mapping.encoding else None,
        delimiter=next((name for name, said in DELIMITERS.items() if said == mapping.delimiter), mapping.delimiter),
    )


def _unknown_words(report: Report) -> Iterable[str]:
    """Words of the file for statuses that nobody knows; of very many the first few."""
    words = [
        str(issue.sentence.values["status"])
        for issue in report.issues
        if issue.code == "unknown_status" and issue.sentence is not None
    ]
    return list(dict.fromkeys(words))[:_MOST_WORDS]


def read_form(form: Mapping[str, str], mapping: MappingFile, head: Head, current: Choices) -> Chosen:
    """The mapping that was chosen, of which only what differs from what would be guessed is said.

    Whoever changes encoding or delimiter sees other columns next: those chosen before are no longer meant.
    """
    encoding, delimiter = form.get("encoding") or None, form.get("delimiter") or None
    errors: dict[str, str] = {}
    if encoding is not None and encoding not in EVERY:
        errors["encoding"] = "encoding"
    if delimiter is not None and delimiter not in DELIMITERS and delimiter != current.delimiter:
        errors["delimiter"] = "delimiter"
    chosen = replace(
        mapping,
        encoding=encoding,
        delimiter=DELIMITERS.get(delimiter or "", delimiter),
        statuses=_statuses(form, mapping, current),
    )
    if errors or _is_other(encoding, current.encoding) or delimiter != current.delimiter:
        return Chosen(replace(chosen, columns={}), errors)
    places = _places(form, head.header, errors)
    return Chosen(replace(chosen, columns=_said_columns(places, head.header)), errors)


def _is_other(encoding: str | None, current: str | None) -> bool:
    return (encoding and python_name(encoding)) != (current and python_name(current))


def _statuses(form: Mapping[str, str], mapping: MappingFile, current: Choices) -> dict[str, StatusWord]:
    others = {word: status for word, status in mapping.statuses.items() if word not in current.statuses}
    told = {word: form.get(f"status-{number}") for number, word in enumerate(current.statuses)}
    return others | {word: status for word, said in told.items() for status in STATUSES if said == status}


def _places(form: Mapping[str, str], header: Header, errors: dict[str, str]) -> dict[FieldName, int | None]:
    unsure = {place for same in header.repeated for place in same}
    places: dict[FieldName, int | None] = {}
    for name in FIELDS:
        told = form.get(f"column-{name}", "")
        place = int(told) if told.isdecimal() and len(told) < 5 else None
        if told and (place is None or place >= header.width):
            errors[f"column-{name}"], place = "column", None
        elif place in unsure:
            errors[f"column-{name}"] = "column_twice"
        elif place is None and name in REQUIRED:
            errors[f"column-{name}"] = f"needed.{name}"
        places[name] = place
    return places


def _said_columns(places: Mapping[FieldName, int | None], header: Header) -> dict[FieldName, list[str]]:
    guessed = read_header(header.names, {}, header.line).places
    return {
        name: [] if place is None else [header.names[place]]
        for name, place in places.items()
        if place != guessed.get(name)
    }
