"""One import, phase by phase, in the caller's transaction."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any
from uuid import UUID

from services.enrolment.imports import logins, report, reporting_lines
from services.enrolment.imports.checking import Checked, Known, check
from services.enrolment.imports.columns import FieldName
from services.enrolment.imports.decoding import Decoded, decode
from services.enrolment.imports.domain import Cap, leaving
from services.enrolment.imports.mapping import MappingFile, parse_mapping
from services.enrolment.imports.records import Sheet, open_sheet
from services.enrolment.imports.refusal import FileRefusedError
from services.enrolment.imports.report import Report
from services.enrolment.imports.rows import Row
from services.enrolment.imports.store import difference, known, ledger, teams, writing
from services.enrolment.imports.suggesting import LoginColumn
from services.enrolment.imports.watch import Watch
from services.enrolment.people import store as people_store
from services.enrolment.people.domain import Unit, events_of, grow_units, unit_state_of
from shared.events import Bucket, PersonStatus, TeamsChanged
from shared.ids import new_id, random_id
from shared.messaging import outbox
from shared.postgres.pool import Connection, Pool

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


@dataclass(frozen=True, slots=True)
class Before:
    """This source's people before the import, by employee id."""

    ids: Mapping[str, UUID]
    known: dict[str, Known]

    @property
    def statuses(self) -> dict[str, PersonStatus]:
        return {who: person.status for who, person in self.known.items()}

    @property
    def active(self) -> int:
        return sum(person.status is not PersonStatus.inactive for person in self.known.values())


Columns = Mapping[FieldName, str]


async def apply(run: Run) -> str:
    """Do it; returns how it ended, `done` or `refused`. A refused file has changed nothing.

    Raises ImportCancelledError and ImportTooSlowError.
    """
    try:
        run.watch.start()
        sheet, mapping = await _read(run)
        columns = _column_names(sheet)
        before = Before(*await known.known_people(run.conn, run.options.source, known.comparable(columns)))
        checked = await _check(run, sheet, mapping, before)
        leavers = _leavers(run, checked, before)
        await _wait_for_others(run)
        new_units = await _compare(run, columns, checked, leavers, before)
        await _judge_overlap(run)
        Cap.parse(run.options.max_deactivations).judge(len(leavers), before.active)
        await _look_at_teams(run, new_units)
    except FileRefusedError as problem:
        run.report.refusal = report.refusal(problem)
        return "refused"
    if not run.options.dry_run:
        await _write(run, new_units)
    return "done"


async def _check(run: Run, sheet: Sheet, mapping: MappingFile, before: Before) -> Checked:
    """The rows that can be trusted. What was read is let go on the way."""
    await run.progress("checking", 15)
    guess = LoginColumn(sheet.header)
    records = guess.over(sheet.records(run.watch.look))
    checked = await asyncio.to_thread(
        check, records, sheet.header, before.known, separator=run.options.unit_separator, mapping=mapping
    )
    run.watch.stop()
    run.counts |= {
        "rows": checked.total,
        "rows_with_errors": len(checked.issues.faulty),
        "kept_as_they_were": len(checked.kept),
        "left_before": len(checked.left - before.known.keys()),
    }
    run.report.tell(checked.issues)
    run.report.suggested_login_column = guess.name()
    if not checked.rows and not checked.left:
        raise FileRefusedError("no_usable_row")
    return checked


async def _read(run: Run) -> tuple[Sheet, MappingFile]:
    await run.progress("reading", 0)
    told = run.options.mapping
    mapping = await asyncio.to_thread(parse_mapping, told) if told else MappingFile()
    content = await ledger.import_content(run.conn, run.id)
    decoded = await asyncio.to_thread(decode, content or b"", mapping.encoding)
    del content
    run.watch.look()
    sheet = await asyncio.to_thread(open_sheet, decoded.lines, mapping)
    run.report.file = _file_read(decoded, sheet)
    return sheet, mapping


def _file_read(decoded: Decoded, sheet: Sheet) -> report.FileRead:
    return report.FileRead(
        encoding=decoded.encoding,
        encoding_guessed=decoded.guessed,
        delimiter=sheet.delimiter,
        columns={str(name): title for name, title in _column_names(sheet).items()},
        unused_columns=list(sheet.header.unused),
    )


def _column_names(sheet: Sheet) -> Columns:
    return {name: sheet.header.name_of(name) for name in sheet.header.places}


def _leavers(run: Run, checked: Checked, before: Before) -> set[str]:
    """The employee ids of those who leave."""
    who_leaves = partial(leaving, before.statuses, checked.rows, checked.left, checked.kept)
    if not run.options.full:
        return who_leaves(full=False)
    full = who_leaves(full=True)
    if not checked.unidentified:
        return full
    named = who_leaves(full=False)
    lines = ", ".join(str(line) for line in checked.unidentified[:10])
    run.report.withheld_deactivations = len(full - named)
    if full == named:
        return named
    run.report.note("nobody_deactivated", people=len(full - named), lines=lines)
    return named


async def _wait_for_others(run: Run) -> None:
    """Imports of other sources read and check meanwhile, and then compare and write one after another."""
    await run.progress("comparing", 35)
    while not await difference.is_alone(run.conn):
        await asyncio.sleep(_LOOK_AGAIN)
        run.watch.look()


async def _compare(run: Run, columns: Columns, checked: Checked, leavers: set[str], before: Before) -> list[Unit]:
    """Set the file against what is known; returns the units it brings."""
    units = await people_store.units(run.conn)
    paths, new_units = grow_units(units, {row.unit for row in checked.rows.values()}, new_id)
    managers, settled = await _resolve(run, columns, checked, leavers, before)
    ids = {**before.ids, **{who: random_id() for who in checked.rows if who not in before.ids}}
    new = await asyncio.to_thread(_anything_new, checked.rows, columns, before, settled, managers, paths)
    wanted = (
        difference.Wanted(
            ids[who], who, row.login or who, settled[who], row.given_name, row.family_name, row.email, row.title,
            row.grade, paths[row.unit], who in managers, ids[manager] if (manager := managers.get(who)) else None,
            row.status, row.locale, row.time_zone,
        )
        for who, row in new
    )  # fmt: skip
    await difference.stage(run.conn, wanted)
    people = len(checked.rows) + len(leavers)
    checked.rows.clear()  # the database has them now
    new.clear()
    options = run.options
    await difference.compare(
        run.conn, options.source, locale=options.default_locale, time_zone=options.default_time_zone, now=run.now
    )
    await difference.set_out_leaving(run.conn, [ids[who] for who in leavers], run.now)
    freed = await difference.set_out_logins_passed_on(run.conn, run.now)
    await _tell_difference(run, people + freed, [*units, *new_units], ids)
    run.counts["new_units"] = len(new_units)
    names = report.unit_names([*units, *new_units], options.unit_separator)
    run.report.new_units = sorted(names[unit.id] for unit in new_units)[: report.MOST_LISTED]
    return new_units


def _anything_new(
    rows: Mapping[str, Row], columns: Columns, before: Before, logins_: Mapping[str, str | None],
    managers: Mapping[str, str | None], paths: Mapping[tuple[str, ...], UUID],
) -> list[tuple[str, Row]]:  # fmt: skip
    """Those of whom the file says anything that is not so already: in most files few. Only imports write people, of a
    source one at a time, so whoever was known when the file was read is still who they were, but for logins of some
    who had left.
    """
    names = known.comparable(columns)
    places = [Row._fields.index(name) for name in names if name != "manager"]
    told = itemgetter(*places, 0, 0)  # of fewer than two places it would give no tuple
    unit_ids = {path: str(unit_id) for path, unit_id in paths.items()}

    def is_known(who: str, row: Row) -> bool:
        person = before.known.get(who)
        if person is None or person.status is PersonStatus.inactive:
            return False
        *values, _, _ = told(row)
        if "manager" in names:
            values.insert(0, managers[who] or "" if who in managers else None)
        return None not in values and person.fingerprint == known.fingerprint(
            logins_[who], row.given_name, row.family_name, unit_ids[row.unit], row.status or person.status, *values
        )

    return [(who, row) for who, row in rows.items() if not is_known(who, row)]


async def _resolve(
    run: Run, columns: Columns, checked: Checked, leavers: set[str], before: Before
) -> tuple[dict[str, str | None], dict[str, str | None]]:
    """The manager's employee id and the login of every row; what could not be had is told."""
    gone = leavers | checked.left
    managers, about_lines = await asyncio.to_thread(
        reporting_lines.resolve, checked.rows, before.known, gone, columns.get("manager")
    )
    run.watch.look()
    await _forget_logins_passed_on(run, before)
    elsewhere: set[str] = set()
    if await difference.has_people_elsewhere(run.conn, run.options.source):
        asked = [logins.folded(row.login or who) for who, row in checked.rows.items()]
        elsewhere = await difference.logins_elsewhere(run.conn, run.options.source, asked)
    settled, about_logins = await asyncio.to_thread(
        logins.settle, checked.rows, before.known, gone, elsewhere, columns.get("login")
    )
    run.watch.look()
    run.counts["without_login"] = sum(settled[who] == who for who, row in checked.rows.items() if row.login is None)
    run.report.tell_of_logins(run.counts["without_login"])
    checked.issues.take(about_lines)
    checked.issues.take(about_logins)
    run.counts["warnings"] = checked.issues.warnings
    run.report.tell(checked.issues)
    return managers, settled


async def _forget_logins_passed_on(run: Run, before: Before) -> None:
    """Another source's import may have given away the logins of people who left this one, since they were read."""
    kept = await difference.logins_of_those_who_left(run.conn, run.options.source)
    for who, person in before.known.items():
        if person.status is PersonStatus.inactive and person.login is not None and who not in kept:
            before.known[who] = person._replace(login=None)


async def _tell_difference(run: Run, people: int, units: Sequence[Unit], ids: Mapping[str, UUID]) -> None:
    changing = await difference.count_changes(run.conn)
    run.counts |= asdict(await difference.count_difference(run.conn)) | {"unchanged": people - changing}
    names = report.unit_names(units, run.options.unit_separator)
    sample = await difference.sample_difference(run.conn, report.MOST_LISTED)
    shown = {person.manager_id for _, *both in sample for person in both if person is not None}
    run.report.difference = report.difference(
        sample, names, {person_id: who for who, person_id in ids.items() if person_id in shown}
    )


async def _judge_overlap(run: Run) -> None:
    """Refuse another source's file: it would deactivate nobody, but bring everybody a second time, without a login."""
    overlap = await difference.largest_overlap(run.conn, run.options.source)
    if overlap is not None and not run.options.allow_overlap:
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
    announced = 0
    async for chunk in writing.changes(run.conn, CHUNK):
        await run.progress("announcing", 65 + 35 * announced // total)
        pairs: list[tuple[Any, None]] = [(event, None) for change in chunk for event in events_of(change)]
        await outbox.add_caused(run.conn, pairs, now=run.now)
        announced += len(chunk)
