"""From the records of a file to rows that can be trusted, with everything else reported by line and column.

Two principles. An error costs the row, never the person: who is already known stays as they are. A warning costs one
value, which stays as it was.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.enrolment.imports import values
from services.enrolment.imports.columns import REQUIRED, FieldName, Header
from services.enrolment.imports.issues import Issue, Issues, Severity
from services.enrolment.imports.mapping import MappingFile
from services.enrolment.imports.records import Record
from services.enrolment.imports.sentences import Phrase, Sentence
from services.enrolment.imports.values import UnusableValueError
from shared.events import PersonStatus

_LONGEST: dict[FieldName, int] = {
    "employee_id": 64, "given_name": 200, "family_name": 200, "email": 320, "title": 200, "grade": 100, "unit": 2000,
    "manager": 64, "status": 100, "locale": 100, "time_zone": 100, "login": 320,
}  # fmt: skip

_SHARED = frozenset({"given_name", "family_name", "title", "grade", "unit", "manager", "status", "locale", "time_zone"})
_READ_WHEN_EMPTY = frozenset({"given_name", "family_name", "unit", "status"})
_MOST_REMEMBERED = 50_000
_MOST_LINES_TOLD = 5


@dataclass(frozen=True, slots=True)
class Row:
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


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a person of this source before the import."""

    status: PersonStatus
    email: str | None
    manager: str | None  # the manager's employee id
    login: str | None


@dataclass(slots=True)
class Checked:
    """The outcome.

    rows: usable ones, by employee id, whose people are or become active. left: people the file says have left.
    kept: known people whose row cannot be used. unidentified: lines of which nobody can say whom they are about,
    broken rows that begin with no known id among them.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    unidentified: list[int] = field(default_factory=list)
    issues: Issues = field(default_factory=Issues)
    total: int = 0


def check(
    records: Iterable[Record], header: Header, known: Mapping[str, Known], *, separator: str, mapping: MappingFile
) -> Checked:
    """Every record of the file, judged; `known` are this source's people by employee id."""
    reader = _RowReader(header, separator, tuple(mapping.statuses.items()))
    result = Checked()
    found: dict[str, list[Row]] = defaultdict(list)
    faulty: set[str] = set()
    unnamed: list[tuple[int, str | None]] = []
    for record in records:
        result.total += 1
        row = reader.read(record)
        if row is not None:
            found[row.employee_id].append(row)
            continue
        employee_id = reader.peek(record, "employee_id")
        if employee_id:
            faulty.add(employee_id)
        # A broken row's first value may be half an id, or the whole line behind a stray quotation mark.
        if not employee_id or (record.fault is not None and employee_id not in known):
            unnamed.append((record.line, reader.peek(record, "email")))
    result.issues = reader.issues
    _settle_duplicates(found, faulty, result, reader)
    result.kept |= faulty & known.keys()
    _identify(unnamed, known, result)
    _settle_emails(result, reader)
    return result


def _repeated_columns(header: Header) -> Iterator[Issue]:
    """Columns that share a name; none of them is used, or the file would have been refused."""
    for same in header.repeated:
        sentence = Sentence("duplicate_columns.unused", {"columns": header.describe(same)})
        yield Issue("warning", header.line, header.names[same[0]], None, sentence)


class _RowReader:
    """Turns records into rows and collects what is wrong with them."""

    def __init__(self, header: Header, separator: str, statuses: tuple[tuple[str, str], ...]) -> None:
        self.header, self.issues = header, Issues()
        self.issues.add(*_repeated_columns(header))
        self._names = tuple(name.strip() for name in header.names)
        self._seen: dict[tuple[FieldName, str], object] = {}
        self._readers: dict[FieldName, Callable[[str], object]] = {
            "given_name": values.read_name,
            "family_name": values.read_name,
            "email": values.read_email,
            "locale": values.read_locale,
            "time_zone": values.read_time_zone,
            "unit": lambda text: values.read_unit(text, separator),
            "status": lambda text: values.read_status(text, statuses),
        }

    def read(self, record: Record) -> Row | None:
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
        """The value; what many people share is read once, and is in memory once."""
        if name not in _SHARED:
            return self._value(name, cell)
        if (name, cell) not in self._seen:
            if len(self._seen) >= _MOST_REMEMBERED:
                self._seen.clear()
            self._seen[name, cell] = self._value(name, cell)
        return self._seen[name, cell]

    def _value(self, name: FieldName, cell: str) -> object:
        text = values.clean(cell, _LONGEST[name])
        if not text and name == "employee_id":
            raise UnusableValueError("no_employee_id")
        if not text and name in {"locale", "time_zone", "login"}:
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
        column = self.header.name_of(name) if name is not None and name in self.header.places else None
        self.issues.add(Issue(severity, line, column, who, sentence))


def _settle_duplicates(found: Mapping[str, list[Row]], faulty: set[str], result: Checked, reader: _RowReader) -> None:
    """One row per person: the same row again is only told; rows that contradict each other cost each other."""
    for employee_id, rows in found.items():
        first, *more = rows
        contradicting = employee_id in faulty or any(replace(row, line=first.line) != first for row in more)
        for row in more if not contradicting else rows:
            sentence = Sentence(
                f"duplicate_employee_id.{'other' if contradicting else 'same'}",
                {"employee_id": employee_id, "lines": _other_lines(rows, row)},
            )
            reader.report("error" if contradicting else "warning", row.line, "employee_id", employee_id, sentence)
        if contradicting:
            faulty.add(employee_id)
        elif first.status is PersonStatus.inactive:
            result.left.add(employee_id)
        else:
            result.rows[employee_id] = first


def _other_lines(rows: Sequence[Row], row: Row) -> str | Phrase:
    """The lines of the others, if they were usable; of very many, the first few and how many more."""
    others = [other.line for other in rows[: _MOST_LINES_TOLD + 1] if other is not row][:_MOST_LINES_TOLD]
    more = len(rows) - 1 - len(others)
    some = ", ".join(map(str, others)) or Phrase("a_refused_line")
    return Phrase("and_more", {"some": ", ".join(map(str, others)), "more": more}) if more else some


def _identify(unnamed: Sequence[tuple[int, str | None]], known: Mapping[str, Known], result: Checked) -> None:
    """Rows without an employee id: by their address if somebody has it; else it stays unknown whom they are about."""
    by_email = {person.email.lower(): who for who, person in known.items() if person.email}
    for line, email in unnamed:
        who = by_email.get(email.lower()) if email else None
        if who is not None:
            result.kept.add(who)
        elif line in result.issues.faulty:
            result.unidentified.append(line)


def _settle_emails(result: Checked, reader: _RowReader) -> None:
    """The same address twice: whose mail it is nobody can say, so who had it keeps it and nobody else gets it.

    Mail holds links that act for one person; a shared or mistyped address would hand them to somebody else.
    """
    holders: dict[str, list[Row]] = defaultdict(list)
    for row in result.rows.values():
        if row.email:
            holders[row.email.lower()].append(row)
    for rows in holders.values():
        for row in rows if len(rows) > 1 else []:
            sentence = Sentence("duplicate_email", {"email": row.email or "", "lines": _other_lines(rows, row)})
            reader.report("warning", row.line, "email", row.employee_id, sentence)
            result.rows[row.employee_id] = replace(row, email=None)
