"""Who may be signed in as: a JSON file that the stack writes and this only reads."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHOWN = 30


@dataclass(frozen=True, slots=True)
class ListedPerson:
    """One person on the list; `note` says what is worth knowing for trying Medled out, such as a role."""

    sub: str
    name: str
    note: str = ""

    def matches(self, words: list[str]) -> bool:
        """Whether every word stands somewhere in it."""
        text = f"{self.name} {self.sub} {self.note}".casefold()
        return all(word in text for word in words)


@dataclass(slots=True)
class PeopleList:
    """The file's people, read again when it has changed. A file that is missing or half written changes nothing."""

    path: Path | None
    _entries: dict[str, ListedPerson] = field(default_factory=dict, init=False)
    _read: tuple[int, int] | None = field(default=None, init=False)

    def find(self, query: str) -> tuple[list[ListedPerson], int]:
        """The first that match every word of `query`, in the file's order, and how many match in all."""
        self._refresh()
        found = [entry for entry in self._entries.values() if entry.matches(query.casefold().split())]
        return found[:SHOWN], len(found)

    def name_of(self, sub: str) -> str:
        """What to call somebody: their name on the list, else the subject itself."""
        self._refresh()
        return self._entries[sub].name if sub in self._entries else sub

    def _refresh(self) -> None:
        if self.path is None:
            return
        try:
            stat = self.path.stat()
            if (stat.st_mtime_ns, stat.st_size) == self._read:
                return
            entries = [_entry(item) for item in json.loads(self.path.read_text(encoding="utf-8"))]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        self._entries = {entry.sub: entry for entry in entries}
        self._read = (stat.st_mtime_ns, stat.st_size)


def _entry(item: dict[str, Any]) -> ListedPerson:
    return ListedPerson(sub=str(item["sub"]), name=str(item["name"]), note=str(item.get("note") or ""))
