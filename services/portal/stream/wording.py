"""An entry as readers get it, with what it says to people in every language of the house."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from services.portal.stream.domain import StreamEntry
from shared.events import PersonManagerChanged

LOCALES = ("sv", "en")

Translate = Callable[[str, str], str | None]
"""(key, locale) -> the text, or None when there is none."""


def as_json(entry: StreamEntry, text: Translate) -> dict[str, Any]:
    """An entry as readers get it.

    Its position, the event in CloudEvents' JSON format, its trace, names for its ids, and what it says to people.
    """
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(entry.id),
        "source": entry.source,
        "type": entry.type,
        "subject": entry.subject,
        "time": entry.time.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "sequence": str(entry.sequence),
        "correlationid": entry.correlation_id,
        "data": entry.data,
    }
    if entry.unit is not None:
        event["unit"] = str(entry.unit)
    if entry.programme is not None:
        event["programme"] = str(entry.programme)
    return {
        "position": entry.position,
        "event": event,
        "trace": entry.trace_id,
        "names": dict(entry.names),
        "text": say(entry, text),
    }


@dataclass(frozen=True, slots=True)
class Row:
    """Events next to each other that say the same, shown as one: the newest of them, and how many."""

    words: str
    times: int
    about: str
    entry: StreamEntry


def collapse(entries: Sequence[StreamEntry], locale: str, text: Translate) -> list[Row]:
    """Rows to show, in the order of `entries`, which are the newest first."""
    told = [(say(entry, text)[locale], entry) for entry in entries]
    runs = [(words, list(run)) for words, run in groupby(told, key=lambda item: item[0])]
    return [Row(words, len(run), run[0][1].type.split(".")[1], run[0][1]) for words, run in runs]


class _Names(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return key


def say(entry: StreamEntry, text: Translate) -> dict[str, str]:
    """One sentence per language about an entry; its type where no sentence exists yet."""
    return {locale: _sentence(entry, locale, text) for locale in LOCALES}


def _sentence(entry: StreamEntry, locale: str, text: Translate) -> str:
    template = text(_LOST_MANAGER if _lost_manager(entry) else f"event.{entry.type}", locale)
    return entry.type if template is None else template.format_map(_names(entry, locale, text))


def _names(entry: StreamEntry, locale: str, text: Translate) -> Mapping[str, str]:
    names = _Names(
        {
            what: _name(entry.names.get(what), locale) or text(f"name.{what}", locale) or str(entry.data.get(what, ""))
            for what in _NAMED
        }
    )
    names["name"] = str(entry.data.get("name", ""))
    return names


_LOST_MANAGER = "manager.lost"


def _lost_manager(entry: StreamEntry) -> bool:
    return entry.type == PersonManagerChanged.type and entry.data.get("manager_id") is None


_NAMED = ("unit", "programme", "cohort", "milestone")


def _name(name: Any, locale: str) -> str | None:
    """A catalogue name: the same in every language, or {"sv": ..., "en": ...}."""
    return name.get(locale) if isinstance(name, dict) else name
