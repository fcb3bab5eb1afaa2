"""Which column could hold the logins, when the file has none that is read as such."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from services.enrolment.imports.columns import FieldName, Header
from services.enrolment.imports.records import Record

_LOOKED_AT = 500  # rows
_ENOUGH = 0.8  # of them must have a value
_LONGEST = 320
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
# One word that begins with a letter: never a number, which could be a national identity number.
_USER_NAME = re.compile(r"(?:[\w-]+\\)?[^\W\d_][\w.-]{1,63}")


@dataclass(slots=True)
class _Column:
    """Its values so far, and how many resemble the person's address or name: ids of other things do not."""

    seen: set[str] = field(default_factory=set)
    like_address: int = 0
    like_name: int = 0


class LoginColumn:
    """Looks at the first rows as they pass: a value for nearly everybody, no two alike, and each like a user name."""

    def __init__(self, header: Header) -> None:
        self._header = header
        read = {place for name, place in header.places.items() if name != "email"}
        unsure = {place for same in header.repeated for place in same}
        self._columns: dict[int, _Column] = {}
        if "login" not in header.places:
            places = [place for place, name in enumerate(header.names) if name.strip() and place not in read | unsure]
            self._columns = {place: _Column() for place in places}
        self._rows = 0

    def over(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records, unchanged."""
        passing = iter(records)
        for record in passing:
            yield record
            if record.fault is None:
                self._rows += 1
                self._look(record)
            if self._rows == _LOOKED_AT:
                break
        yield from passing

    def name(self) -> str | None:
        """The likeliest column's name. The address that mail goes to comes last: it is a login less often."""
        enough = max(2, self._rows * _ENOUGH)
        found = [
            (place == self._header.places.get("email"), -each.like_address, -each.like_name, place)
            for place, each in self._columns.items()
            if len(each.seen) >= enough and 2 * max(each.like_address, each.like_name) >= len(each.seen)
        ]
        return self._header.names[min(found)[-1]] if found else None

    def _look(self, record: Record) -> None:
        local = self._value(record, "email").partition("@")[0]
        names = _beginnings(self._value(record, "given_name"), self._value(record, "family_name"))
        for place, column in list(self._columns.items()):
            value = _folded(record.fields[place])
            if not value:
                continue
            is_address = value == local or _ADDRESS.fullmatch(value) is not None
            if value in column.seen or len(value) > _LONGEST or not (is_address or _USER_NAME.fullmatch(value)):
                del self._columns[place]
                continue
            column.seen.add(value)
            column.like_address += is_address
            column.like_name += any(part in value for part in names)

    def _value(self, record: Record, name: FieldName) -> str:
        place = self._header.places.get(name)
        return _folded(record.fields[place]) if place is not None else ""


def _folded(cell: str) -> str:
    """Without capitals and accents, as user names are made from names."""
    text = unicodedata.normalize("NFKD", cell.strip()[: _LONGEST + 1])
    return "".join(c for c in text if not unicodedata.combining(c)).casefold()


def _beginnings(given: str, family: str) -> list[str]:
    """What a user name made from a name has in it: two letters of either, or the initials."""
    return [part for part in (given[:2], family[:2], given[:1] + family[:1]) if len(part) == 2]
