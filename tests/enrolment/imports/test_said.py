"""What the last file said needs no second look, and memory does not grow with it; nothing else may come of that."""

import csv
import io
import random
import re
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from services.enrolment.imports.store import staging
from shared.postgres.pool import Connection, create_pool
from shared.settings import Settings
from tests.enrolment.imports.conftest import Importer
from tests.enrolment.imports.test_importing import export, line, numbered
from tests.support.databases import Databases
from tests.support.settings import make_settings

HEADER = ["Employee ID", "First Name", "Last Name", "Unit", "Email", "Title", "Manager ID", "Status", "Login"]
ROOT = Path(__file__).parents[3]
MOST_GROWTH = 700  # bytes for a person more, in the file and known; the line of each is 75


def _row(draw: random.Random, who: str) -> list[str]:
    """What a file says of somebody: mostly sound, and often about what somebody else of the file has."""

    def mostly(good: str, *odd: str) -> str:
        return good if draw.random() < 0.8 else draw.choice(odd)

    return [
        mostly(who, f" {who}", f"{who} ", ""), mostly("Anna", "", "Å"), "Berg", mostly("Care", "Care - Home", ""),
        mostly(f"e{who}@x.se", "e1@x.se", "E2@x.se", "Å3@x.se", "å3@x.se", "bad", ""), draw.choice(["Chief", ""]),
        mostly(draw.choice(["", "1", "2", "3"]), who, "5", "nobody"), mostly("Active", "On Leave", "Terminated", "Odd"),
        mostly("", "l1", "L1", "l2", "\u00e5sa", "\u00c5SA", "\uff4c1", "2", "3"),
    ]  # fmt: skip


def _files(seed: int) -> list[str]:
    """Exports of some days, each a little other than the last."""
    draw = random.Random(seed)
    rows = [_row(draw, str(who)) for who in draw.sample(range(1, 11), 8)]
    files = []
    for _ in range(5):
        out = io.StringIO()
        csv.writer(out).writerows([HEADER, *rows])
        files.append(out.getvalue())
        for _ in range(draw.randrange(3)):
            nth = draw.randrange(len(rows))
            match draw.randrange(4):
                case 0:
                    rows[nth] = _row(draw, rows[nth][0].strip() or "9")
                case 1:
                    rows.append(_row(draw, str(draw.randrange(1, 13))))
                case 2:
                    rows.append(list(rows[nth]))
                case _ if len(rows) > 2:
                    del rows[nth]
    return files


async def _seen(importer: Importer, file: str) -> dict[str, Any]:
    """All that an import of the file does and tells, but for ids and moments."""
    done = await importer(file, max_deactivations="100%")
    people = {
        who: {name: person[name] for name in person.keys() - {"id", "unit_id", "manager_id", "changed_at"}}
        for who, person in (await importer.people()).items()
    }
    return {
        "status": done.status, "counts": done.counts, "report": done.report, "people": people,
        "events": await importer.events(),
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
async def test_what_a_file_says_again_is_taken_as_if_it_had_never_been_said(seed: int, importer: Importer) -> None:
    files = _files(seed)
    remembered = [await _seen(importer, file) for file in files]
    await importer.pool.execute(
        "truncate people, units, imports, outbox_sequences, former_logins, team_changes cascade"
    )
    for file, was in zip(files, remembered, strict=True):
        await importer.pool.execute("truncate people_said")
        assert await _seen(importer, file) == was


async def test_a_person_whom_an_older_version_changed_is_looked_at_again(importer: Importer) -> None:
    file = export(line("1"), line("2"))
    await importer(file)
    await importer.events()
    await importer.pool.execute("update people set title = 'Chief', changed_at = now() where employee_id = '1'")
    assert (await importer(file)).counts["changed"] == 1
    assert (await importer.people())["1"]["title"] == "Planner"


async def test_whoever_reported_to_somebody_who_leaves_is_told_though_their_row_is_as_before(
    importer: Importer,
) -> None:
    await importer(export(line("1", "2"), line("2"), line("3")))
    done = await importer(export(line("1", "2"), line("3")), max_deactivations="1")
    assert done.report is not None
    assert [(issue["code"], issue["line"]) for issue in done.report["issues"]] == [("manager_left", 2)]
    assert (await importer.people())["1"]["manager"] is None


async def _told(importer: Importer, code: str, file: str, **options: Any) -> list[int]:
    """The lines of which an import of the file tells this."""
    report = (await importer(file, max_deactivations="1", **options)).report
    assert report is not None
    return [issue["line"] for issue in report["issues"] if issue["code"] == code]


async def test_a_manager_who_left_while_a_report_could_not_be_read_is_taken_away_when_it_can(
    importer: Importer,
) -> None:
    await importer(export(line("1", "2"), line("2"), line("3")))
    assert await _told(importer, "manager_left", export(line("1", "2", status="Odd"), line("3"))) == []
    assert (await importer.people())["1"]["manager"] == "2"
    for _ in range(2):  # as often as the file says so
        assert await _told(importer, "manager_left", export(line("1", "2"), line("3"))) == [2]
        assert (await importer.people())["1"]["manager"] is None


async def test_a_manager_whom_a_partial_file_had_leave_is_taken_away_by_the_next_full_one(importer: Importer) -> None:
    await importer(export(line("1", "2"), line("2"), line("3")))
    await importer(export(line("2", status="Terminated")), full=False, max_deactivations="1")
    assert await _told(importer, "manager_left", export(line("1", "2"), line("3"))) == [2]
    assert (await importer.people())["1"]["manager"] is None


@pytest.mark.parametrize("capital", ["a", "\u00e5"])
async def test_an_address_that_two_have_is_told_each_time(capital: str, importer: Importer) -> None:
    address = f"{capital}@example.org"
    await importer(export(line("1", email=address), line("3")))
    newcomer = line("2", email=address.upper())
    assert await _told(importer, "duplicate_email", export(line("1", email=address, status="Odd"), newcomer)) == []
    for _ in range(2):
        assert await _told(importer, "duplicate_email", export(line("1", email=address), newcomer)) == [2, 3]


async def test_a_circle_through_the_manager_whom_somebody_had_before_they_left_is_told_when_they_return(
    importer: Importer,
) -> None:
    await importer(export(line("1", "2"), line("2"), line("3")))
    await importer(export(line("2"), line("3")), max_deactivations="1")
    unreadable = line("1", "x" * 65)
    assert await _told(importer, "manager_circle", export(unreadable, line("2", "1"), line("3"))) == [3]
    people = await importer.people()
    assert (people["1"]["manager"], people["2"]["manager"]) == ("2", None)


async def test_of_an_unchanged_file_nothing_is_looked_at_again(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged: list[int] = []
    add = staging.add

    async def counted(conn: Connection, rows: Sequence[staging.Staged]) -> None:
        staged.extend(row.line for row in rows)
        await add(conn, rows)

    monkeypatch.setattr(staging, "add", counted)
    file = export(line("1", "2"), line("2"), line("3", status="On Leave", login="tre"))
    await importer(file)
    assert staged == [2, 3, 4]
    assert (await importer(file)).counts["unchanged"] == 3
    assert staged == [2, 3, 4]
    await importer(file + line("4", "1"))
    assert staged == [2, 3, 4, 5]


async def test_a_circle_is_told_to_those_in_it_whose_rows_are_as_they_were(importer: Importer) -> None:
    await importer(export(line("1", "2"), line("2", "3"), line("3")))
    done = await importer(export(line("1", "2"), line("2", "3"), line("3", "1")))
    assert done.report is not None
    assert {issue["line"] for issue in done.report["issues"] if issue["code"] == "manager_circle"} == {2, 3, 4}
    assert {person["manager"] for person in (await importer.people()).values()} == {None}


_IN_ITS_OWN_PROCESS = """
import asyncio, sys
from pathlib import Path
from services.enrolment.imports.actions import IMPORT
from services.enrolment.imports.handlers import run_imports
from shared.clock import Clock
from services.enrolment.imports.store import staging
from shared.postgres.pool import Connection, create_pool
from shared.settings import Settings
from shared.timers import Timers
from tests.support.settings import make_settings

async def main():
    async with await create_pool(make_settings(Settings, sys.argv[1]), name="test") as pool:
        await Timers(pool, Clock(), {IMPORT: run_imports(pool)}).tick()

asyncio.run(main())
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


async def _peak(importer: Importer, dsn: str, people: int) -> int:
    """The most bytes that a process of its own took to import so many people."""
    import_id = await importer.send(numbered(range(people)))
    process = await create_subprocess_exec(sys.executable, "-c", _IN_ITS_OWN_PROCESS, dsn, cwd=ROOT, stdout=PIPE)
    told, _ = await process.communicate()
    done = await importer.find(import_id)
    assert (done.status, done.counts["rows"]) == ("done", people)
    found = re.search(rb"VmHWM:\s+(\d+) kB", told)
    assert found is not None, told
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak")
@pytest.mark.timeout(120)
async def test_an_import_takes_little_memory_for_each_person_of_the_file_and_known(database: Databases) -> None:
    few, many = 2_000, 22_000
    for said in (True, False):  # all of them new; then all known, whose rows are looked at again
        peaks = []
        for people in (few, many):
            dsn = await database("enrolment")
            async with await create_pool(make_settings(Settings, dsn), name="test") as pool:
                peaks.append(await _peak(Importer(pool), dsn, people))
                if not said:
                    await pool.execute("truncate people_said")
                    peaks[-1] = await _peak(Importer(pool), dsn, people)
        assert peaks[1] - peaks[0] < MOST_GROWTH * (many - few)
