"""From the records of a file to rows that can be trusted, with everything else reported by line and column.

Two principles. An error costs the row, never the person: who is already known stays as they are. A warning costs one
value, which stays as it was.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from services.enrolment.imports.columns import Header
from services.enrolment.imports.issues import Issues
from services.enrolment.imports.mapping import MappingFile
from services.enrolment.imports.records import Record
from services.enrolment.imports.rows import Row, RowReader
from services.enrolment.imports.sentences import Phrase, Sentence
from shared.events import PersonStatus

_AT_A_TIME = 500  # records
_MOST_LINES_TOLD = 5


class Known(NamedTuple):
    """What is known of a person of this source before the import."""

    status: PersonStatus
    email: str | None
    manager: str | None  # the manager's employee id
    login: str | None
    fingerprint: bytes = b""  # of all that the file's columns say


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
    reader = RowReader(header, separator, tuple(mapping.statuses.items()))
    result = Checked(issues=reader.issues)
    found: dict[str, Row] = {}
    repeated: dict[str, list[Row]] = {}
    faulty: set[str] = set()
    unnamed: list[tuple[int, str | None]] = []
    passing = iter(records)
    while some := list(islice(passing, _AT_A_TIME)):
        result.total += len(some)
        rows = reader.read(some)
        new = {row.employee_id: row for row in rows if row is not None}
        if len(new) == len(rows) and found.keys().isdisjoint(new):
            found.update(new)
            continue
        for record, row in zip(some, rows, strict=True):
            if row is not None:
                first = found.setdefault(row.employee_id, row)
                if first is not row:
                    repeated.setdefault(row.employee_id, [first]).append(row)
                continue
            employee_id = reader.peek(record, "employee_id")
            if employee_id:
                faulty.add(employee_id)
            # A broken row's first value may be half an id, or the whole line behind a stray quotation mark.
            if not employee_id or (record.fault is not None and employee_id not in known):
                unnamed.append((record.line, reader.peek(record, "email")))
    _settle_duplicates(found, repeated, faulty, reader)
    _sort_out(found, result)
    result.kept |= faulty & known.keys()
    _identify(unnamed, known, result)
    _settle_emails(result, reader)
    return result


def _settle_duplicates(
    found: dict[str, Row], repeated: Mapping[str, list[Row]], faulty: set[str], reader: RowReader
) -> None:
    """One row per person: the same row again is only told; rows that contradict each other cost each other."""
    for employee_id in [who for who in found if who in repeated or who in faulty]:
        rows = repeated.get(employee_id) or [found[employee_id]]
        first, *more = rows
        contradicting = employee_id in faulty or any(row._replace(line=first.line) != first for row in more)
        for row in more if not contradicting else rows:
            sentence = Sentence(
                f"duplicate_employee_id.{'other' if contradicting else 'same'}",
                {"employee_id": employee_id, "lines": _other_lines(rows, row)},
            )
            reader.report("error" if contradicting else "warning", row.line, "employee_id", employee_id, sentence)
        if contradicting:
            faulty.add(employee_id)
            del found[employee_id]


def _sort_out(found: dict[str, Row], result: Checked) -> None:
    """Who is there, and who has left."""
    result.left = {who for who, row in found.items() if row.status is PersonStatus.inactive}
    for who in result.left:
        del found[who]
    result.rows = found


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


def _settle_emails(result: Checked, reader: RowReader) -> None:
    """The same address twice: whose mail it is nobody can say, so who had it keeps it and nobody else gets it.

    Mail holds links that act for one person; a shared or mistyped address would hand them to somebody else.
    """
    addresses = [row.email.lower() for row in result.rows.values() if row.email]
    if len(set(addresses)) == len(addresses):
        return
    counted = Counter(addresses)
    holders: dict[str, list[Row]] = defaultdict(list)
    for row in result.rows.values():
        if row.email and counted[email := row.email.lower()] > 1:
            holders[email].append(row)
    for rows in holders.values():
        for row in rows:
            sentence = Sentence("duplicate_email", {"email": row.email or "", "lines": _other_lines(rows, row)})
            reader.report("warning", row.line, "email", row.employee_id, sentence)
            result.rows[row.employee_id] = row._replace(email=None)
