"""Files that somebody who may import people sends to stop everybody else: each ends, soon, and nothing else waits."""

import asyncio
import os
import signal
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from deploy.embedded.process import free_port
from services.enrolment.imports import actions, importing, logins, reporting_lines
from services.enrolment.imports.actions import IMPORT
from services.enrolment.imports.decoding import decode
from services.enrolment.imports.domain import Known
from services.enrolment.imports.handlers import run_imports
from services.enrolment.imports.mapping import MappingFile, parse_mapping
from services.enrolment.imports.records import Record, Sheet, open_sheet
from services.enrolment.imports.refusal import FileRefusedError
from services.enrolment.imports.rows import Row
from services.enrolment.imports.store import difference, ledger
from shared.clock import Clock
from shared.events import PersonStatus
from shared.postgres.pool import Pool, create_pool
from shared.postgres.transaction import transaction
from shared.security.principal import Principal
from shared.settings import Settings
from shared.timers import Timers
from tests.enrolment.imports import reading
from tests.enrolment.imports.conftest import NOW, Importer
from tests.enrolment.imports.reading import Checked
from tests.support.databases import Databases
from tests.support.settings import make_settings

HEADER = "Employee ID,First Name,Last Name,Email,Unit\n"
SOMEBODY = Principal("machine", f"machine:{UUID(int=7)}", None, "HR")
QUICK = 10.0  # seconds of the processor, on any machine; what these files cost before was minutes, hours or all memory


@pytest.fixture
async def pool(database: Databases) -> AsyncIterator[Pool]:
    pool = await create_pool(make_settings(Settings, await database("enrolment")), name="test")
    yield pool
    await pool.close()


@pytest.fixture
async def importer(pool: Pool) -> Importer:
    return Importer(pool)


def people(source: str, count: int = 3) -> str:
    return HEADER + "".join(f"{source}{n},Anna,Berg,{source}{n}@example.org,Care\n" for n in range(count))


def read(content: bytes, known: dict[str, Known] | None = None) -> Checked:
    return reading.read(content, known, mapping=MappingFile())


@pytest.fixture
def quickly() -> Iterator[None]:
    began = time.process_time()
    yield
    assert time.process_time() - began < QUICK


@pytest.mark.parametrize(
    "encoding", ["punycode", "idna", "unicode_escape", "raw_unicode_escape", "utf-7", "hz", "zlib", "rot13", "mbcs",
                 "bz2_codec", "undefined", "../../etc/passwd", "a\0b", "x" * 5_000]
)  # fmt: skip
def test_only_encodings_that_exports_come_in_are_ever_tried(encoding: str) -> None:
    with pytest.raises(FileRefusedError) as refused:
        decode(b"x" * 1_000_000 + b"-", encoding)
    assert refused.value.code == "encoding"
    assert "Windows-1252" in refused.value.remedy


@pytest.mark.parametrize(
    "mapping",
    [
        "a." * 45_000 + "a = 1",
        "[" + "a." * 45_000 + "a]",
        "".join(f"{'a.' * 40}a{n} = 1\n" for n in range(1_000)),
        "a: " + "1:" * 40_000 + "1",
        "a: [" + "a, " * 30_000 + "a]",
        "{" + "a: b, " * 15_000 + "}",
        "? a\n" * 20_000,
        "a: " + "[" * 90_000,
        "&a [*a, *a]",
    ],
    ids=["dots", "table of dots", "lines of dots", "base sixty", "sequence", "map", "keys", "brackets", "aliases"],
)
@pytest.mark.usefixtures("quickly")
def test_a_mapping_file_that_never_ends_ends(mapping: str) -> None:
    with pytest.raises(FileRefusedError):
        parse_mapping(mapping)


@pytest.mark.usefixtures("quickly")
def test_a_thousand_accents_on_one_letter_cost_their_row_and_no_minutes() -> None:
    monster = "a" + "\u0301\u0323" * 60_000  # putting so many in order takes the square of the time
    rows = "".join(f"{n},{monster},Berg,{n}@example.org,Care\n" for n in range(3))
    found = read((HEADER + rows + "9,Bo,Ek,9@example.org,Care\n").encode())
    assert found.rows.keys() == {"9"}
    assert {issue.code for issue in found.issues} == {"too_long"}
    with pytest.raises(FileRefusedError):
        read(f"{monster},{monster[:40_000]}\n1,2\n".encode())


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("line", ["," * 3_000_000, "a," * 2_500, ",".join(f"c{n}" for n in range(1_000_000))])
def test_a_header_of_thousands_of_columns_refuses_the_file(line: str) -> None:
    with pytest.raises(FileRefusedError) as refused:
        read((line + "\n1\n").encode())
    assert refused.value.code in {"too_many_columns", "missing_columns"}
    assert len(str(vars(refused.value))) < 20_000


@pytest.mark.usefixtures("quickly")
def test_columns_that_all_have_one_name_are_told_in_a_sentence() -> None:
    found = read((HEADER.strip() + ",x" * 1_900 + "\n" + "1,Bo,Ek,b@example.org,Care" + "," * 1_900 + "\n").encode())
    [issue] = found.issues
    assert len(issue.detail) < 500


@pytest.mark.usefixtures("quickly")
def test_a_hundred_thousand_rows_about_one_person_are_told_without_each_naming_all() -> None:
    rows = "".join(f"1,Bo{n},Ek,b@example.org,Care\n" for n in range(20_000))
    mails = "".join(f"m{n},Bo,Ek,same@example.org,Care\n" for n in range(20_000))
    found = read((HEADER + rows + mails).encode())
    assert found.issues.total == 40_000
    assert max(len(issue.detail) for issue in found.issues) < 300


@pytest.mark.usefixtures("quickly")
def test_a_circle_of_everybody_is_told_without_each_naming_all() -> None:
    count = 20_000
    rows = {f"{n}": Row(n, f"{n}", "Bo", "Ek", ("Care",), manager=f"{(n + 1) % count}") for n in range(count)}
    managers, issues = reporting_lines.resolve(rows, {}, set(), "Chef")
    assert set(managers.values()) == {None}
    assert max(len(issue.detail) for issue in issues) < 500


@pytest.mark.usefixtures("quickly")
def test_a_chain_of_logins_that_each_wait_for_the_next_is_settled_at_once() -> None:
    count = 30_000
    known = {f"{n}": Known(PersonStatus.active, None, None, f"l{n}") for n in range(count)}
    rows = {f"{n}": Row(n, f"{n}", "Bo", "Ek", ("Care",), login=f"l{n + 1}") for n in range(count - 1)}
    rows[f"{count - 1}"] = Row(count, f"{count - 1}", "Bo", "Ek", ("Care",), login=f"l{count - 1}")
    settled, issues = logins.settle(rows, known, set(), set(), "Login")
    assert settled == {who: person.login for who, person in known.items()}
    assert issues.total == count - 1


@pytest.mark.usefixtures("quickly")
def test_a_file_of_line_ends_is_refused_and_one_of_stray_quotes_is_read() -> None:
    with pytest.raises(FileRefusedError) as refused:
        read(HEADER.encode() + b"\n" * 5_000_000)
    assert refused.value.code == "too_many_lines"
    assert len(read(HEADER.encode() + b'"1,Bo\n' * 20_000).unidentified) == 20_000


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    "rows",
    ["," * 20_000_000 + "\n", ('"' + "," * 150_000 + '"\n') * 60, "1,A,B,a@b.se\n" * 30_000, '"1,A\n' * 30_000],
    ids=["one row of commas", "rows of commas", "rows that lack a value", "rows that open a quotation mark"],
)
def test_a_file_of_faults_takes_little_memory_beside_its_lines(rows: str) -> None:
    lines = decode((HEADER + rows + "9,Bo,Ek,9@example.org,Care\n").encode()).lines
    sheet = open_sheet(lines, MappingFile())
    tracemalloc.start()
    try:
        found = reading.check(sheet, {}, MappingFile(), " - ")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.rows.keys() == {"9"}
    assert peak < 15_000_000
    assert len(found.issues) <= 500


def test_letters_of_many_bytes_are_told_apart_by_a_sample() -> None:
    damaged = (HEADER + "1,Bo,Ek,b@example.org,Care\n").encode() + "å".encode() * 5_000_000 + b"\xff\n"
    assert decode(damaged).encoding == "utf-8"


class Gate:
    """Holds up whatever file of a source is checked, as one would that takes for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, marked: str) -> None:
        self.is_open = threading.Event()
        opened = open_sheet

        def held(lines: list[str], mapping: MappingFile) -> Sheet:
            sheet = opened(lines, mapping)
            return Held(sheet, self.is_open) if any(marked in line for line in lines) else sheet  # type: ignore[return-value]

        monkeypatch.setattr(importing, "open_sheet", held)


class Held:
    def __init__(self, sheet: Sheet, is_open: threading.Event) -> None:
        self._sheet, self._is_open = sheet, is_open

    def __getattr__(self, name: str) -> object:
        return getattr(self._sheet, name)

    def records(self, look: Callable[[], None]) -> Iterator[Record]:
        while not self._is_open.wait(0.02):
            look()
        yield from self._sheet.records(look)


async def _until(importer: Importer, import_id: UUID, holds: Callable[[ledger.Import], bool]) -> ledger.Import:
    async with asyncio.timeout(40):
        while not holds(found := await importer.find(import_id)):
            assert found.status in ("queued", "running"), found
            await asyncio.sleep(0.05)
    return found


def _timers(importer: Importer, **options: Any) -> Timers:
    return Timers(importer.pool, Clock(), {IMPORT: run_imports(importer.pool, **options)})


async def _ask_to_end(importer: Importer, import_id: UUID) -> None:
    async with transaction(importer.pool) as conn:
        await actions.cancel(conn, SOMEBODY, import_id, now=NOW)


async def _was_ended_by_hand(importer: Importer, import_id: UUID) -> None:
    found = await importer.find(import_id)
    assert (found.status, found.cancelled_by) == ("cancelled", SOMEBODY.id)
    assert await importer.people() == {}
    assert await importer.events() == {}
    assert await importer.pool.fetchval("select content from imports where id = $1", import_id) is None
    [row] = await importer.pool.fetch("select principal, action, subject from audit_log")
    assert tuple(row) == (SOMEBODY.id, "import.cancelled", import_id)


async def test_an_import_that_waits_is_ended_by_hand_at_once(importer: Importer) -> None:
    import_id = await importer.send(people("a"))
    await _ask_to_end(importer, import_id)
    await _was_ended_by_hand(importer, import_id)
    await _timers(importer).tick()
    await _was_ended_by_hand(importer, import_id)


async def test_an_import_that_is_being_checked_is_ended_by_hand(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Gate(monkeypatch, "a0")
    import_id = await importer.send(people("a"))
    working = asyncio.create_task(_timers(importer).tick())
    await _until(importer, import_id, lambda found: found.phase == "checking")
    for _ in range(2):  # the second time changes nothing
        await _ask_to_end(importer, import_id)
    await asyncio.wait_for(working, 20)
    await _was_ended_by_hand(importer, import_id)


async def test_an_import_that_waits_for_another_to_write_is_ended_by_hand(importer: Importer) -> None:
    import_id = await importer.send(people("a"))
    async with transaction(importer.pool) as conn:
        assert await difference.is_alone(conn)
        working = asyncio.create_task(_timers(importer).tick())
        await _until(importer, import_id, lambda found: found.phase == "comparing")
        await _ask_to_end(importer, import_id)
        await asyncio.wait_for(working, 20)
    await _was_ended_by_hand(importer, import_id)


async def test_an_import_that_has_written_people_and_announces_them_is_ended_by_hand_and_taken_back(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = importing.Run.progress

    async def progress(run: importing.Run, phase: str, percent: int) -> None:
        if phase == "announcing" and percent > 70:
            await _ask_to_end(importer, run.id)
        await told(run, phase, percent)

    monkeypatch.setattr(importing, "CHUNK", 10)
    monkeypatch.setattr(importing.Run, "progress", progress)
    import_id = await importer.send(people("a", 60))
    await _timers(importer).tick()
    await _was_ended_by_hand(importer, import_id)


async def test_what_has_ended_cannot_be_ended_by_hand(importer: Importer) -> None:
    done = await importer(people("a"))
    with pytest.raises(actions.ImportEndedError):
        await _ask_to_end(importer, done.id)
    assert len(await importer.people()) == 3


async def test_an_import_whose_process_is_gone_is_ended_by_hand_at_once(importer: Importer) -> None:
    import_id = await importer.send(people("a"))
    await importer.pool.execute("update imports set status = 'running', phase = 'checking', attempts = 1")
    await _ask_to_end(importer, import_id)
    await _was_ended_by_hand(importer, import_id)


async def test_what_takes_too_long_to_check_fails_and_says_so(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Gate(monkeypatch, "a0")
    import_id = await importer.send(people("a", 200))
    await _timers(importer, time_limit=timedelta(seconds=0.5)).tick()
    found = await importer.find(import_id)
    assert (found.status, found.attempts) == ("failed", 1)
    assert found.report is not None
    assert found.report["failure"]["code"] == "too_slow"
    assert "MEDLED_IMPORT_MINUTES" in found.report["failure"]["remedy"]
    assert await importer.people() == {}


async def test_a_file_that_is_worked_on_holds_up_no_other_source(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, "a0")
    first = await importer.send(people("a"), source="a")
    second = await importer.send(people("a", 4), source="a")
    other = await importer.send(people("b"), source="b")
    running = _timers(importer)
    assert running.at_once(IMPORT) == 2
    held = asyncio.create_task(running.tick())
    await _until(importer, first, lambda found: found.phase == "checking")
    async with asyncio.timeout(20):
        while (await importer.find(other)).status != "done":
            await running.tick()
            await asyncio.sleep(0.05)
    assert (await importer.find(second)).status == "queued", "within a source, order stays"
    gate.is_open.set()
    await held
    while await importer.pool.fetchval("select exists (select from timers)"):
        await running.tick()
    assert [(await importer.find(each)).counts["joined"] for each in (first, second)] == [3, 1]


async def test_a_process_that_is_asked_to_end_spends_no_attempt(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, "a0")
    import_id = await importer.send(people("a"))
    for _ in range(4):
        working = asyncio.create_task(_timers(importer).tick())
        await _until(importer, import_id, lambda found: found.phase == "checking" and found.attempts == 1)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    assert (await importer.find(import_id)).attempts == 0
    gate.is_open.set()
    await _timers(importer).tick()
    assert (await importer.find(import_id)).status == "done"


async def test_what_0_1_0_left_running_for_ever_ends_by_itself(importer: Importer) -> None:
    """Its process was killed again and again, and it counted nothing."""
    hostile = await importer.send("x" * 1_000 + "-", mapping='encoding = "punycode"')
    await importer.pool.execute("update imports set status = 'running', phase = 'reading', started_at = $1", NOW)
    other = await importer.send(people("b"), source="b")
    await _timers(importer).tick()
    found = await importer.find(hostile)
    assert (found.status, found.attempts) == ("refused", 1)
    assert found.report is not None
    assert found.report["refusal"]["code"] == "encoding"
    assert (await importer.find(other)).status == "done"


@asynccontextmanager
async def _worker(dsn: str, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Enrolment's worker as it is started everywhere. Kafka is away: it needs none for this."""
    settings = make_settings(Settings, dsn, port=free_port()).model_dump(mode="json", exclude_none=True)
    given = {f"MEDLED_{name.upper()}": str(value) for name, value in settings.items()}
    given["MEDLED_SESSION_SECRET"] = "s" * 32
    with (folder / "worker.log").open("a") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.enrolment", "worker", env=os.environ | given, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_what_ended_its_process_waits_for_those_that_were_not_tried(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, "a0")
    poison = await importer.send(people("a"), source="a")
    await importer.pool.execute("update imports set status = 'running', phase = 'checking', attempts = 1")
    other = await importer.send(people("b"), source="b")
    running = _timers(importer)
    await running.tick()
    assert ((await importer.find(other)).status, (await importer.find(poison)).attempts) == ("done", 1)
    gate.is_open.set()
    while await importer.pool.fetchval("select exists (select from timers)"):
        await running.tick()
    assert ((await importer.find(poison)).status, (await importer.find(poison)).attempts) == ("done", 2)


@pytest.mark.timeout(240)
async def test_an_import_that_kills_its_process_is_failed_after_three(database: Databases, tmp_path: Path) -> None:
    """A real worker, killed by its id in the middle of the import, as the kernel does when memory is short."""
    dsn = await database("enrolment")
    pool = await create_pool(make_settings(Settings, dsn), name="test")
    importer = Importer(pool)
    poison = await importer.send(people("a"), source="a")
    async with transaction(pool) as conn:
        assert await difference.is_alone(conn)  # so that it comes so far and no further
        for attempt in (1, 2, 3):
            async with _worker(dsn, tmp_path) as worker:
                async with asyncio.timeout(40):
                    while ((found := await importer.find(poison)).attempts, found.phase) != (attempt, "comparing"):
                        await asyncio.sleep(0.05)
                os.kill(worker.pid, signal.SIGKILL)
                await worker.wait()
        async with _worker(dsn, tmp_path), asyncio.timeout(40):
            while (found := await importer.find(poison)).status == "running":
                await asyncio.sleep(0.05)
    assert (found.status, await importer.people()) == ("failed", {})
    await pool.close()
    assert found.report is not None
    assert "3 times" in found.report["failure"]["detail"]
    assert "while it compared" in found.report["failure"]["detail"]
    assert "memory" in found.report["failure"]["remedy"]
    log = (tmp_path / "worker.log").read_text()
    assert [n for n in range(1, 6) if f'"attempt": {n}' in log] == [1, 2, 3]
    assert "import started" in log
