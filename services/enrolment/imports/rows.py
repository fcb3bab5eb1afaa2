"""What records say of people. Most cells of a column are alike or plain, so columns are read at once; a record with a
cell that may be at fault is read by itself, which tells every fault there is.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import NamedTuple, cast

from services.enrolment.imports import values
from services.enrolment.imports.columns import REQUIRED, FieldName, Header
from services.enrolment.imports.issues import Issue, Issues, Severity
from services.enrolment.imports.records import Record
from services.enrolment.imports.sentences import Sentence
from services.enrolment.imports.values import UnusableValueError
from shared.events import PersonStatus

_LONGEST: dict[FieldName, int] = {
    "employee_id": 64, "given_name": 200, "family_name": 200, "email": 320, "title": 200, "grade": 100, "unit": 2000,
    "manager": 64, "status": 100, "locale": 100, "time_zone": 100, "login": 320,
}  # fmt: skip

_OWN: tuple[FieldName, ...] = ("employee_id", "email", "login")  # everybody's is another; all else many people share
_READ_WHEN_EMPTY = frozenset({"given_name", "family_name", "unit", "status"})
_NONE_WHEN_EMPTY = frozenset({"locale", "time_zone", "login"})
_MOST_REMEMBERED = 50_000
_DOUBTFUL = object()


class Row(NamedTuple):
    """What the file says of one person. None: nothing is said, or nothing usable, and it stays as it was."""

    line: int
    employee_id: str
    given_name: str
    family_name: str
    unit: tuple[str, ...]
    email: str | None = None
    title: str | None = None
    grade: str | None = None
    manager: str | None = None
    status: PersonStatus | None = None
    locale: str | None = None
    time_zone: str | None = None
    login: str | None = None


_FIELDS = cast(tuple[FieldName, ...], Row._fields[1:])


class RowReader:
    """Turns records into rows and collects what is wrong with them.

    told: the lines of which something was told, for whoever empties it.
    """

    def __init__(self, header: Header, separator: str, statuses: tuple[tuple[str, str], ...]) -> None:
        self.header, self.issues = header, Issues()
        self.told: set[int] = set()
        self.issues.add(*_repeated_columns(header))
        self._names = tuple(name.strip() for name in header.names)
        self._seen: dict[FieldName, dict[str, object]] = {name: {} for name in _FIELDS if name not in _OWN}
        self._readers: dict[FieldName, Callable[[str], object]] = {
            "given_name": values.read_name,
            "family_name": values.read_name,
            "email": values.read_email,
            "locale": values.read_locale,
            "time_zone": values.read_time_zone,
            "unit": lambda text: values.read_unit(text, separator),
            "status": lambda text: values.read_status(text, statuses),
        }

    def read(self, records: Sequence[Record]) -> list[Row | None]:
        """The row of each, or None when an error was reported for it."""
        sound = [record for record in records if record.fault is None]
        rows = self._at_once(sound)
        if len(sound) == len(records) and all(rows):
            return rows
        found = iter(rows)
        return [(next(found) if record.fault is None else None) or self.read_alone(record) for record in records]

    def _at_once(self, records: Sequence[Record]) -> list[Row | None]:
        """The rows of records without a fault in their shape; None for those to look at by themselves."""
        if not records:
            return []
        if sum(map(len, self._seen.values())) > _MOST_REMEMBERED:
            for seen in self._seen.values():
                seen.clear()
        cells = list(zip(*(record.fields for record in records), strict=True))
        doubtful = {nth for nth, cell in enumerate(cells[0]) if cell.strip() == self._names[0]}
        places = self.header.places
        columns = [
            self._column(name, cells[places[name]], doubtful) if name in places else repeat(None) for name in _FIELDS
        ]
        given, family = (columns[_FIELDS.index(name)] for name in ("given_name", "family_name"))
        if "" in given and "" in family:
            doubtful |= {nth for nth, both in enumerate(zip(given, family, strict=True)) if both == ("", "")}
        rows: list[Row | None] = list(map(Row._make, zip((record.line for record in records), *columns)))  # noqa: B905
        for nth in doubtful:
            rows[nth] = None
        return rows

    def _column(self, name: FieldName, cells: Sequence[str], doubtful: set[int]) -> Sequence[object]:
        """The values of one field. Adds to `doubtful` the places of those that cannot be used."""
        seen: dict[str, object] = self._seen[name] if name not in _OWN else {}
        if name in _OWN and self._is_plain(name, cells):
            return cells if name not in _NONE_WHEN_EMPTY else [cell or None for cell in cells]
        are_usable = True
        for cell in set(cells) - seen.keys():
            try:
                seen[cell] = self._value(name, cell)
            except UnusableValueError:
                are_usable = False
        if are_usable:
            return [seen[cell] for cell in cells]
        found = [seen.get(cell, _DOUBTFUL) for cell in cells]
        doubtful |= {nth for nth, value in enumerate(found) if value is _DOUBTFUL}
        return found

    def _is_plain(self, name: FieldName, cells: Sequence[str]) -> bool:
        """Whether every one of these is its own value."""
        if name == "email" and not values.are_emails(cells):
            return False
        return (name != "employee_id" or all(cells)) and values.are_clean(cells, _LONGEST[name])

    def read_alone(self, record: Record) -> Row | None:
        """The row, or None when an error was reported for it."""
        if record.fault is not None:
            who = self.peek(record, "employee_id")
            self.report("error", record.line, None, who, record.fault)
            return None
        if self._is_header(record):
            self.report("warning", record.line, None, None, Sentence("header_again"))
            return None
        return self._row(record)

    def _row(self, record: Record) -> Row | None:
        found: dict[FieldName, object] = {}
        usable = True
        who = self.peek(record, "employee_id")
        for name, place in self.header.places.items():
            try:
                found[name] = self._remembered(name, record.fields[place])
            except UnusableValueError as problem:
                costs_row = name in REQUIRED or name == "status"
                usable = usable and not costs_row
                self.report("error" if costs_row else "warning", record.line, name, who, problem.sentence)
        if usable and not found["given_name"] and not found["family_name"]:
            self.report("error", record.line, "given_name", who, Sentence("no_name.neither"))
            usable = False
        return Row(record.line, **found) if usable else None  # type: ignore[arg-type] # the readers give each field's type

    def _remembered(self, name: FieldName, cell: str) -> object:
        """The value; what many people share is in memory once."""
        seen = self._seen.get(name, {})
        return seen[cell] if cell in seen else self._value(name, cell)

    def _value(self, name: FieldName, cell: str) -> object:
        text = values.clean(cell, _LONGEST[name])
        if not text and name == "employee_id":
            raise UnusableValueError("no_employee_id")
        if not text and name in _NONE_WHEN_EMPTY:
            return None
        reader = self._readers.get(name)
        return reader(text) if reader and (text or name in _READ_WHEN_EMPTY) else text

    def peek(self, record: Record, name: FieldName) -> str | None:
        """A field of a record that may be faulty; None when it is not there or not to be trusted."""
        place = self.header.places.get(name)
        shifted = record.fault is not None and place != 0  # only the first value is surely in its place
        if place is None or place >= len(record.fields) or shifted or self._is_header(record):
            return None
        try:
            return values.clean(record.fields[place], _LONGEST[name]) or None
        except UnusableValueError:
            return None

    def _is_header(self, record: Record) -> bool:
        return tuple(cell.strip() for cell in record.fields) == self._names

    def report(
        self, severity: Severity, line: int, name: FieldName | None, who: str | None, sentence: Sentence
    ) -> None:
        """Tell something about a line, and the column of a field if the file has it."""
        self.told.add(line)
        column = self.header.name_of(name) if name is not None and name in self.header.places else None
        self.issues.add(Issue(severity, line, column, who, sentence))


def _repeated_columns(header: Header) -> Iterator[Issue]:
    """Columns that share a name; none of them is used, or the file would have been refused."""
    for same in header.repeated:
        sentence = Sentence("duplicate_columns.unused", {"columns": header.describe(same)})
        yield Issue("warning", header.line, header.names[same[0]], None, sentence)
