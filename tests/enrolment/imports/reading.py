"""What is read from a file by itself, without a database to set it against."""

from collections import Counter
from dataclasses import dataclass, field

from services.enrolment.imports.checking import Checker, identify, settle_duplicates, settle_emails
from services.enrolment.imports.decoding import decode
from services.enrolment.imports.domain import Known
from services.enrolment.imports.issues import Issues
from services.enrolment.imports.mapping import MappingFile
from services.enrolment.imports.prints import Prints
from services.enrolment.imports.records import Sheet, open_sheet
from services.enrolment.imports.rows import Row
from services.enrolment.imports.store.staging import Staged


@dataclass
class Checked:
    """rows: of those who are there. left: those said to have left. kept: known ones about whom a row cannot be used."""

    rows: dict[str, Row]
    left: set[str]
    kept: set[str]
    unidentified: list[int]
    issues: Issues = field(default_factory=Issues)


def read(
    content: bytes, known: dict[str, Known] | None = None, *, mapping: MappingFile, separator: str = " - "
) -> Checked:
    return check(open_sheet(decode(content, mapping.encoding).lines, mapping), known or {}, mapping, separator)


def check(sheet: Sheet, known: dict[str, Known], mapping: MappingFile, separator: str) -> Checked:
    checker = Checker(sheet.header, separator, mapping, Prints(b"", b""))
    staged = [row for chunk in checker.staged(sheet.records()) for row in chunk]
    paths = list(checker.units)
    faulty = {row.employee_id for row in staged if row.use == "faulty"}
    usable = [_row(row, paths) for row in staged if row.use != "faulty"]
    lines = Counter(row.employee_id for row in staged)
    again, lost = settle_duplicates([row for row in usable if lines[row.employee_id] > 1], faulty, checker.reader)
    rows = {row.employee_id: row for row in usable if row.line not in again and row.employee_id not in lost}
    left = {who for who, row in rows.items() if row.status == "inactive"}
    here = {who: row for who, row in rows.items() if who not in left}
    emails = Counter(row.email.lower() for row in here.values() if row.email)
    shared = [row for row in here.values() if row.email and emails[row.email.lower()] > 1]
    settle_emails(shared, checker.reader)
    here |= {row.employee_id: row._replace(email=None) for row in shared}
    holders = {person.email.lower(): who for who, person in known.items() if person.email}
    kept, unidentified = identify(checker.unnamed, known, holders, checker.reader.issues.faulty)
    about = faulty | lost | {row.employee_id for row in kept}
    return Checked(here, left, about & known.keys(), unidentified, checker.reader.issues)


def _row(staged: Staged, paths: list[tuple[str, ...]]) -> Row:
    line, who, _, given, family, unit, *values = staged[:14]
    assert given is not None
    assert family is not None
    assert unit is not None
    return Row(line, who, given, family, paths[unit], *values)  # type: ignore[arg-type] # in the order of the fields
