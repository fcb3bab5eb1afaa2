"""One import, phase by phase, in the caller's transaction."""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar, cast
from uuid import UUID

from services.enrolment.imports import logins, report, reporting_lines
from services.enrolment.imports.checking import Checker, identify, settle_duplicates, settle_emails
from services.enrolment.imports.columns import FieldName
from services.enrolment.imports.decoding import Decoded, decode
from services.enrolment.imports.domain import Cap
from services.enrolment.imports.mapping import MappingFile, parse_mapping
from services.enrolment.imports.prints import SIZE, Prints
from services.enrolment.imports.records import Sheet, open_sheet
from services.enrolment.imports.refusal import FileRefusedError
from services.enrolment.imports.report import Report
from services.enrolment.imports.store import difference, doubtful, ledger, staging, teams, writing
from services.enrolment.imports.store.staging import Staged
from services.enrolment.imports.suggesting import LoginColumn
from services.enrolment.imports.watch import Watch
from services.enrolment.people import store as people_store
from services.enrolment.people.domain import Unit, events_of, grow_units, unit_state_of
from shared.events import Bucket, TeamsChanged
from shared.ids import new_id
from shared.messaging import outbox
from shared.postgres.pool import Connection, Pool

T = TypeVar("T")
CHUNK = 2_000  # people announced in one statement
MOST_UNITS_TOLD = 20
TIME_LIMIT = timedelta(minutes=20)  # to read and check a file, unless the deployment says otherwise
_LOOK_AGAIN = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Options:
    """What the sender of a file chose; stored with the import."""

    source: str = "hr"
    dry_run: bool = False
    full: bool = True
    max_deactivations: str = "10%"
    allow_overlap: bool = False
    unit_separator: str = " - "
    mapping: str | None = None
    default_locale: str = "sv"
    default_time_zone: str = "Europe/Stockholm"


@dataclass(slots=True)
class Run:
    """One import on its way; `counts` and `report` grow as it goes."""

    pool: Pool
    conn: Connection
    id: UUID
    options: Options
    now: datetime
    counts: dict[str, int] = field(default_factory=dict)
    report: Report = field(default_factory=Report)
    watch: Watch = field(default_factory=lambda: Watch(TIME_LIMIT))

    async def progress(self, phase: str, percent: int) -> None:
        """Tell how far it is, on a connection of its own: this transaction shows nothing before it commits."""
        async with self.pool.acquire() as conn:
            if not await ledger.note_progress(conn, self.id, phase, percent, self.counts):
                self.watch.is_cancelled = True
        self.watch.look()


@dataclass(slots=True)
class File:
    """The file of an import, as far as it was read: `sheet` is read to its end by `_check`.

    unidentified: lines of which nobody can say whom they are about, broken rows that begin with no known id among them.
    staged: how many rows are in the database. looked_again: lines that say what is known already and are compared all
    the same, since other lines concern them.
    """

    sheet: Sheet
    mapping: MappingFile
    checker: Checker
    unidentified: list[int] = field(default_factory=list)
    staged: int = 0
    looked_again: set[int] = field(default_factory=set)

    @property
    def columns(self) -> Mapping[FieldName, str]:
        header = self.sheet.header
        return {name: header.name_of(name) for name in header.places}

    @property
    def paths(self) -> list[tuple[str, ...]]:
        """The units that rows name, by their numbers."""
        return list(self.checker.units)

    @property
    def unchanged(self) -> int:
        """How many people the file says nothing new of, and nothing else in it concerns."""
        return self.checker.prints.seen - len(self.looked_again)


async def apply(run: Run) -> str:
    """Do it; returns how it ended, `done` or `refused`. A refused file has changed nothing.

    Raises ImportCancelledError and ImportTooSlowError.
    """
    try:
        run.watch.start()
        file = await _read(run)
        await _check(run, file)
        active = await difference.count_active(run.conn, run.options.source)
        await _wait_for_others(run)
        leaving = await _set_out_leaving(run, file)
        new_units = await _compare(run, file, leaving)
        await _judge_overlap(run)
        Cap.parse(run.options.max_deactivations).judge(leaving, active)
        await _look_at_teams(run, new_units)
    except FileRefusedError as problem:
        run.report.refusal = report.refusal(problem)
        return "refused"
    if not run.options.dry_run:
        await _write(run, new_units)
    return "done"


async def _read(run: Run) -> File:
    await run.progress("reading", 0)
    told = run.options.mapping
    mapping = await asyncio.to_thread(parse_mapping, told) if told else MappingFile()
    decoded = await _decoded(run, mapping)
    sheet = await asyncio.to_thread(open_sheet, decoded.lines, mapping)
    await staging.begin(run.conn)
    prints = Prints(*await staging.prints(run.conn, run.options.source))
    file = File(sheet, mapping, Checker(sheet.header, run.options.unit_separator, mapping, prints))
    run.report.file = report.FileRead(
        encoding=decoded.encoding,
        encoding_guessed=decoded.guessed,
        delimiter=sheet.delimiter,
        columns={str(name): title for name, title in file.columns.items()},
        unused_columns=list(sheet.header.unused),
    )
    return file


async def _decoded(run: Run, mapping: MappingFile) -> Decoded:
    content = await ledger.import_content(run.conn, run.id)
    run.watch.look()
    return await asyncio.to_thread(decode, content, mapping.encoding)


async def _check(run: Run, file: File) -> None:
    """Stage the rows that can be trusted, but for those that say what is known."""
    await run.progress("checking", 15)
    checker, source = file.checker, run.options.source
    guess = LoginColumn(file.sheet.header)
    await _stage(run, file, checker.staged(guess.over(file.sheet.records(run.watch.look))))
    if checker.prints.seen and file.staged:
        await _look_again(run, file, [each async for each in staging.prints_of_staged(run.conn, source)])
        await _look_again(run, file, await staging.prints_with_staged_emails(run.conn, source))
    await _settle_within(run, file)
    run.watch.stop()
    counted = await staging.count(run.conn, source)
    run.counts |= {
        "rows": checker.total,
        "rows_with_errors": len(checker.reader.issues.faulty),
        "kept_as_they_were": counted.kept,
        "left_before": counted.left_before,
    }
    run.report.tell(checker.reader.issues)
    run.report.suggested_login_column = guess.name()
    if not (counted.here or counted.left or file.unchanged):
        raise FileRefusedError("no_usable_row")


async def _stage(run: Run, file: File, chunks: Iterator[list[Staged]]) -> None:
    """Copy rows to the database, while the next ones are read."""
    rows: list[Staged] | None = []
    while rows is not None:
        rows = await _beside(staging.add(run.conn, rows), asyncio.to_thread(next, chunks, None))
        file.staged += len(rows or ())
    await staging.analyze(run.conn)


async def _look_again(run: Run, file: File, prints: Iterable[bytes]) -> bool:
    """Stage the lines that say these, too; whether there are any that were not yet."""
    said = {file.checker.prints.line_of(each) for each in prints}
    lines = said - file.looked_again - {0}
    if not lines:
        return False
    decoded = await _decoded(run, file.mapping)  # the lines were let go when they were read
    sheet = await asyncio.to_thread(open_sheet, decoded.lines, file.mapping)
    await _stage(run, file, file.checker.again(sheet.records(run.watch.look), lines))
    file.looked_again |= lines
    return True


async def _settle_within(run: Run, file: File) -> None:
    """One row per person, one person per address, and who may be meant by rows that do not say it."""
    conn, reader = run.conn, file.checker.reader
    again, contradicted = settle_duplicates(*await staging.repeated(conn, file.paths), reader)
    if again:
        await staging.drop_lines(conn, again)
    if contradicted:
        await staging.make_faulty(conn, contradicted)
    if file.checker.unnamed:
        await _identify(run, file)
    settle_emails(await staging.sharing_an_email(conn, file.paths), reader)


async def _identify(run: Run, file: File) -> None:
    """Rows without an employee id: by their address if somebody has it; else it stays unknown whom they are about."""
    source, unnamed = run.options.source, file.checker.unnamed
    known = await staging.known_among(run.conn, source, {each.perhaps for each in unnamed if each.perhaps})
    holders = await staging.who_has_email(run.conn, source, {each.email.lower() for each in unnamed if each.email})
    kept, file.unidentified = identify(unnamed, known, holders, file.checker.reader.issues.faulty)
    await staging.add(run.conn, kept)


async def _set_out_leaving(run: Run, file: File) -> int:
    """Set out those who leave; how many they are."""
    unseen = file.checker.prints.unseen()
    leaving, named = await staging.set_out_leaving(run.conn, run.options.source, unseen, SIZE, full=run.options.full)
    if not run.options.full or not file.unidentified:
        return leaving
    run.report.withheld_deactivations = leaving - named
    if leaving > named:
        lines = ", ".join(str(line) for line in file.unidentified[:10])
        run.report.note("nobody_deactivated", people=leaving - named, lines=lines)
        await staging.keep_those_not_named(run.conn)
    return named


async def _wait_for_others(run: Run) -> None:
    """Imports of other sources read and check meanwhile, and then compare and write one after another."""
    await run.progress("comparing", 35)
    while not await difference.is_alone(run.conn):
        await asyncio.sleep(_LOOK_AGAIN)
        run.watch.look()


async def _compare(run: Run, file: File, leaving: int) -> list[Unit]:
    """Set the file against what is known; returns the units it brings."""
    options = run.options
    if "manager" in file.columns:
        await _settle_managers(run, file)
    await _settle_logins(run, file)
    run.counts["warnings"] = file.checker.reader.issues.warnings
    run.report.tell(file.checker.reader.issues)
    units = await people_store.units(run.conn)
    used = await staging.used_units(run.conn)
    named = {path: nth for path, nth in file.checker.units.items() if nth in used}
    ids, new_units = grow_units(units, named, new_id)
    await staging.add_units(run.conn, [(nth, ids[path]) for path, nth in named.items()])
    await difference.compare(
        run.conn, options.source, locale=options.default_locale, time_zone=options.default_time_zone, now=run.now
    )
    freed = await difference.set_out_logins_passed_on(run.conn, run.now)
    counted = await staging.count(run.conn, options.source)
    await _tell_difference(run, counted.here + file.unchanged + leaving + freed, [*units, *new_units])
    run.counts["new_units"] = len(new_units)
    names = report.unit_names([*units, *new_units], options.unit_separator)
    run.report.new_units = sorted(names[unit.id] for unit in new_units)[: report.MOST_LISTED]
    return new_units


async def _settle_managers(run: Run, file: File) -> None:
    """Every row's manager is somebody who stays, and in no circle; what could not be had is told."""
    conn, source, column = run.conn, run.options.source, file.columns["manager"]
    await _look_again(run, file, await staging.prints_under_gone(conn, source))
    found = await doubtful.reporting(conn, source, file.paths)
    circle = await asyncio.to_thread(reporting_lines.in_circles, found.rows, found.known, found.gone)
    if await _look_again(run, file, [found.prints[who] for who in circle if who in found.prints]):
        found = await doubtful.reporting(conn, source, file.paths)
    managers, issues = await asyncio.to_thread(reporting_lines.resolve, found.rows, found.known, found.gone, column)
    run.watch.look()
    lost = [who for who, manager in managers.items() if manager is None and found.rows[who].manager]
    if lost:
        await staging.take_away_managers(conn, lost)
    file.checker.reader.issues.take(issues)


async def _settle_logins(run: Run, file: File) -> None:
    """Every login is one person's; what could not be had is told, and who has the employee id for one is counted."""
    conn, source = run.conn, run.options.source
    odd = set() if not file.staged else {logins.folded(login) for login in await doubtful.odd_logins(conn)}
    if file.staged and await doubtful.is_any_login_contested(conn, source, odd):
        rows, known, held = await doubtful.contested_logins(conn, source, odd, file.paths)
        settled, issues = await asyncio.to_thread(logins.settle, rows, known, (), held, file.columns.get("login"))
        told = {who for who, login in settled.items() if login != logins.asked_by(rows[who], known.get(who))}
        await staging.settle_logins(conn, settled, told)
        file.checker.reader.issues.take(issues)
    run.watch.look()
    run.counts["without_login"] = file.checker.without_login + await doubtful.count_without_login(conn, source)
    run.report.tell_of_logins(run.counts["without_login"])


async def _tell_difference(run: Run, people: int, units: Sequence[Unit]) -> None:
    changing = await difference.count_changes(run.conn)
    run.counts |= asdict(await difference.count_difference(run.conn)) | {"unchanged": people - changing}
    names = report.unit_names(units, run.options.unit_separator)
    sample = await difference.sample_difference(run.conn, report.MOST_LISTED)
    shown = {person.manager_id for _, *both in sample for person in both if person is not None and person.manager_id}
    employee_ids = await difference.employee_ids(run.conn, run.options.source, list(shown))
    run.report.difference = report.difference(sample, names, employee_ids)


async def _judge_overlap(run: Run) -> None:
    """Refuse another source's file: it would deactivate nobody, but bring everybody a second time, without a login."""
    if run.options.allow_overlap or not await difference.has_people_elsewhere(run.conn, run.options.source):
        return
    overlap = await difference.largest_overlap(run.conn, run.options.source)
    if overlap is not None:
        overlap.judge()


async def _look_at_teams(run: Run, new_units: Sequence[Unit]) -> None:
    """Tell in the report of which teams much changes at once."""
    run.counts["teams_changed"] = await teams.set_out_teams(run.conn, run.now)
    if not run.counts["teams_changed"]:
        return
    names = report.unit_names([*await people_store.units(run.conn), *new_units], run.options.unit_separator)
    run.report.teams = report.teams(await teams.sample_teams(run.conn, report.MOST_LISTED), names)


async def _tell_of_teams(run: Run) -> None:
    """Tell the programme office, and whoever sent the file, of these teams."""
    await teams.remember_changes(run.conn, run.now)
    if not run.counts["teams_changed"]:
        return
    told = await teams.notices(run.conn, run.id, MOST_UNITS_TOLD, run.now)
    events = [
        TeamsChanged(
            notice_id=new_id(), person_id=each.person_id, import_id=run.id, teams=Bucket.of(each.teams),
            unit_ids=tuple(each.unit_ids), may_read=each.may_read,
        )
        for each in told
    ]  # fmt: skip
    await outbox.add(run.conn, *events, now=run.now)


async def _write(run: Run, new_units: Sequence[Unit]) -> None:
    """The people as they are to be, and one event for each change of meaning."""
    await run.progress("writing", 50)
    if new_units:
        await people_store.add_units(run.conn, new_units)
        await outbox.add(run.conn, *(unit_state_of(unit) for unit in new_units), now=run.now)
    total = await difference.count_changes(run.conn)
    if total:
        await _tell_of_teams(run)  # while everybody is still who they were
        await writing.write(run.conn)
    await writing.remember_said(run.conn, run.options.source)
    announced = 0
    encoded: list[outbox.Row] = []
    async for chunk in writing.changes(run.conn, CHUNK):
        await run.progress("announcing", 65 + 35 * announced // total)
        events = [event for change in chunk for event in events_of(change)]
        encoded = await _beside(  # the last chunk's are written while those of this one are made
            outbox.add_encoded(run.conn, encoded), asyncio.to_thread(outbox.encode, events, now=run.now)
        )
        announced += len(chunk)
    await outbox.add_encoded(run.conn, encoded)


async def _beside(database: Awaitable[None], work: Awaitable[T]) -> T:
    """Wait for both, whatever becomes of either: nothing else can be asked of a connection that is at work."""
    stored, made = await asyncio.gather(database, work, return_exceptions=True)
    for ended in (made, stored):
        if isinstance(ended, BaseException):
            raise ended
    return cast(T, made)
