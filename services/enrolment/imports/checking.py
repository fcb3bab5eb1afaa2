"""From the records of a file to rows that can be trusted, with everything else reported by line and column.

Two principles. An error costs the row, never the person: who is already known stays as they are. A warning costs one
value, which stays as it was.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from services.enrolment.imports.columns import Header
from services.enrolment.imports.logins import folded
from services.enrolment.imports.mapping import MappingFile
from services.enrolment.imports.prints import Printer, Prints
from services.enrolment.imports.records import Record
from services.enrolment.imports.rows import Row, RowReader
from services.enrolment.imports.sentences import Phrase, Sentence
from services.enrolment.imports.store.staging import Staged
from shared.events import PersonStatus

_AT_A_TIME = 500  # records
_MOST_STAGED = 4_000  # rows handed on at once
_MOST_LINES_TOLD = 5


class Unnamed(NamedTuple):
    """A line without an employee id to trust: its address, and what stands where the id should be."""

    line: int
    email: str | None
    perhaps: str | None


class Checker:
    """Reads records and keeps of them only what is wrong, whose row cannot be used, and the paths of units.

    unnamed: lines of which it remains to be seen whom they are about. without_login: how many of those of whom nothing
    new is said have no login in the file, and their employee id for one.
    """

    def __init__(self, header: Header, separator: str, mapping: MappingFile, prints: Prints) -> None:
        self.reader = RowReader(header, separator, tuple(mapping.statuses.items()))
        self.units: dict[tuple[str, ...], int] = {}
        self.unnamed: list[Unnamed] = []
        self.total = 0
        self.without_login = 0
        self.prints = prints
        self._print = Printer(header, separator, mapping.statuses)
        self._login_place = header.places.get("login")

    def staged(self, records: Iterable[Record]) -> Iterator[list[Staged]]:
        """What is to be compared, some thousand rows at a time: all but the rows that say what is known already."""
        rows: list[Staged] = []
        passing = iter(records)
        while some := list(islice(passing, _AT_A_TIME)):
            self.total += len(some)
            rows += self._read(*self._unknown(some))
            if len(rows) >= _MOST_STAGED:
                yield rows
                rows = []
        if rows:
            yield rows

    def again(self, records: Iterable[Record], lines: Collection[int]) -> Iterator[list[Staged]]:
        """Of these lines, which say what is known already, the rows all the same."""
        passing = (record for record in records if record.line in lines)
        while some := list(islice(passing, _AT_A_TIME)):
            prints = [self._print(record.fields) for record in some]
            self.without_login -= sum(map(self._counts_without_login, some, map(self.prints.find, prints)))
            yield self._read(some, prints)

    def _unknown(self, records: Sequence[Record]) -> tuple[list[Record], list[bytes | None]]:
        left: list[Record] = []
        prints: list[bytes | None] = []
        for record in records:
            print_ = self._print(record.fields) if record.fault is None else None
            nth = self.prints.take(print_, record.line) if print_ is not None else None
            if nth is None:
                left.append(record)
                prints.append(print_)
            else:
                self.without_login += self._counts_without_login(record, nth)
        return left, prints

    def _counts_without_login(self, record: Record, nth: int | None) -> bool:
        has_none = self._login_place is None or not record.fields[self._login_place].strip()
        return has_none and nth is not None and self.prints.has_own_id_as_login(nth)

    def _read(self, records: Sequence[Record], prints: Sequence[bytes | None]) -> list[Staged]:
        staged: list[Staged] = []
        self.reader.told.clear()
        for record, row, print_ in zip(records, self.reader.read(records), prints, strict=True):
            if row is not None:
                staged.append(self._staged(row, None if row.line in self.reader.told else print_))
                continue
            employee_id = self.reader.peek(record, "employee_id")
            if employee_id:
                staged.append(Staged(record.line, employee_id, "faulty"))
            # A broken row's first value may be half an id, or the whole line behind a stray quotation mark.
            if not employee_id or record.fault is not None:
                self.unnamed.append(Unnamed(record.line, self.reader.peek(record, "email"), employee_id))
        return staged

    def _staged(self, row: Row, print_: bytes | None) -> Staged:
        line, who, given, family, path, email, title, grade, manager, status, locale, time_zone, login = row
        unit = self.units.setdefault(path, len(self.units))
        if status is PersonStatus.inactive:
            return Staged(
                line, who, "left", given, family, unit, email, title, grade, manager, status, locale, time_zone, login
            )
        return Staged(
            line, who, "here", given, family, unit, email, title, grade, manager, status, locale, time_zone, login,
            email.lower() if email else None, folded(login) if login else None, print_,
        )  # fmt: skip


def settle_duplicates(rows: Sequence[Row], faulty: Collection[str], reader: RowReader) -> tuple[set[int], set[str]]:
    """One row per person: the same row again is only told; rows that contradict each other, or one that cannot be
    used, cost each other.

    `rows` are all of the people about whom there are several lines, in the order of the file. Returns the lines that
    only say the same again, and who is contradicted.
    """
    of: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of[row.employee_id].append(row)
    again: set[int] = set()
    contradicted: set[str] = set()
    for employee_id, same in of.items():
        first, *more = same
        contradicting = employee_id in faulty or any(row._replace(line=first.line) != first for row in more)
        for row in more if not contradicting else same:
            sentence = Sentence(
                f"duplicate_employee_id.{'other' if contradicting else 'same'}",
                {"employee_id": employee_id, "lines": _other_lines(same, row)},
            )
            reader.report("error" if contradicting else "warning", row.line, "employee_id", employee_id, sentence)
        if contradicting:
            contradicted.add(employee_id)
        else:
            again |= {row.line for row in more}
    return again, contradicted


def identify(
    unnamed: Iterable[Unnamed], known: Collection[str], holders: Mapping[str, str], faulty: Collection[int]
) -> tuple[list[Staged], list[int]]:
    """Whom lines without an employee id are about: whoever has the address. Of the other faulty ones nobody can say.

    known: those whose employee id a broken row begins with. holders: the employee ids of those who have an address.
    """
    kept: list[Staged] = []
    unidentified: list[int] = []
    for line, email, perhaps in unnamed:
        if perhaps in known:
            continue
        who = holders.get(email.lower()) if email else None
        if who is not None:
            kept.append(Staged(line, who, "faulty"))
        elif line in faulty:
            unidentified.append(line)
    return kept, unidentified


def settle_emails(rows: Iterable[Row], reader: RowReader) -> None:
    """Tell of each of these, all who have an address that others in the file have, in the order of the file.

    Whose mail it is nobody can say, so who had it keeps it and nobody else gets it. Mail holds links that act for one
    person; a shared or mistyped address would hand them to somebody else.
    """
    holders: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        holders[(row.email or "").lower()].append(row)
    for same in holders.values():
        for row in same:
            sentence = Sentence("duplicate_email", {"email": row.email or "", "lines": _other_lines(same, row)})
            reader.report("warning", row.line, "email", row.employee_id, sentence)


def _other_lines(rows: Sequence[Row], row: Row) -> str | Phrase:
    """The lines of the others, if they were usable; of very many, the first few and how many more."""
    others = [other.line for other in rows[: _MOST_LINES_TOLD + 1] if other is not row][:_MOST_LINES_TOLD]
    more = len(rows) - 1 - len(others)
    some = ", ".join(map(str, others)) or Phrase("a_refused_line")
    return Phrase("and_more", {"some": ", ".join(map(str, others)), "more": more}) if more else some
