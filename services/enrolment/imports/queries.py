"""What may be read of imports, by whoever may import: reports name people, so reading one is put on record."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.enrolment.imports.choices import Choices, choices
from services.enrolment.imports.head import LOOKED_AT, Head, read_head
from services.enrolment.imports.mapping import MappingFile, parse_mapping
from services.enrolment.imports.options import ImportOptions
from services.enrolment.imports.refusal import FileRefusedError
from services.enrolment.imports.report import Report
from services.enrolment.imports.store import kept_files, ledger
from shared.errors import NotFoundError
from shared.events import Role
from shared.postgres.pool import Connection
from shared.security.audit import audit
from shared.security.authorization import require
from shared.security.principal import Principal

MAY_IMPORT = (Role.hr_integration, Role.programme_office)


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that somebody may go on with: how it was read, and what may be chosen. No head: it is no CSV file.

    is_overtaken: another file of its source came after it, so that what was foreseen holds no longer.
    """

    mapping: MappingFile
    head: Head | None
    choices: Choices | None
    is_overtaken: bool


async def find(conn: Connection, import_id: UUID) -> ledger.Import:
    """Raises NotFoundError."""
    found = await ledger.find_import(conn, import_id)
    if found is None:
        raise NotFoundError("There is no import with this id.", remedy="Choose one from the list.")
    return found


async def one(conn: Connection, who: Principal, import_id: UUID, *, now: datetime) -> ledger.Import:
    """How far the import is, or its report when it has ended. Raises NotFoundError, and ProblemError 403."""
    await require(conn, who, *MAY_IMPORT)
    found = await find(conn, import_id)
    if found.report is not None:
        await audit(conn, who, "import.read", import_id, now)
    return found


async def kept(conn: Connection, found: ledger.Import) -> Kept | None:
    """The file of an import that has ended, if it is kept."""
    if not found.can_go_on:
        return None
    options = ImportOptions.model_validate(found.options)
    content = await kept_files.head(conn, found.id, LOOKED_AT)
    is_overtaken = await kept_files.is_overtaken(conn, found)
    return await asyncio.to_thread(_read, options, content, Report.model_validate(found.report or {}), is_overtaken)


def _read(options: ImportOptions, content: bytes, report: Report, is_overtaken: bool) -> Kept:
    mapping = parse_mapping(options.mapping) if options.mapping else MappingFile()
    head = _head(content, mapping) or _head(content, MappingFile())  # what was chosen may be what does not fit
    return Kept(mapping, head, choices(mapping, head, report) if head is not None else None, is_overtaken)


def _head(content: bytes, mapping: MappingFile) -> Head | None:
    try:
        return read_head(content, mapping)
    except FileRefusedError:
        return None


async def options_for_next(conn: Connection, source: str) -> ImportOptions:
    """How the source's next file is to be read: as its last one that was imported well, but for how much it changes."""
    found = await ledger.last_done(conn, source)
    last = found.options if found is not None else {}
    names = ("mapping", "unit_separator", "default_locale", "default_time_zone")
    return ImportOptions.model_validate({"source": source, **{name: last[name] for name in names if name in last}})
