"""`hr_import`: an export is imported for the first time, then as it was, then with one person in a hundred changed.

Ours is a worker's timer from the stored file to the last commit. The limit of the first is COPY of the people, units
and outbox rows that ours leaves, ready in memory. The limit of the others reads the file by `csv`, copies it into a
temporary table and counts by joins who differs; it checks nothing.
"""

import csv
import io
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import asyncpg
import uvloop

from bench import people_file
from bench.facts import NOW
from bench.measure import Options, Result, Stopwatch, in_turn, median, median_ratio
from bench.servers import Servers
from services.enrolment.imports import importing
from services.enrolment.imports.actions import IMPORT
from services.enrolment.imports.handlers import run_imports
from services.enrolment.imports.store import ledger
from shared.clock import Clock
from shared.ids import new_id
from shared.postgres.pool import Pool, create_pool
from shared.postgres.transaction import transaction
from shared.settings import Settings
from shared.timers import Timers, schedule

PEOPLE, CHANGED = 100_000, 0.01
GOAL_FIRST, GOAL_UNCHANGED = 0.33, 0.5
_COPIED = ("units", "people", "outbox")  # parents before their children

_TEMPORARY = """
create temporary table bare (
    employee_id text, given_name text, family_name text, login text, email text, title text, unit text, manager text,
    status text, locale text, time_zone text)
"""
_DIFFERENT = """
with recursive path as (
    select id, name from units where parent_id is null
    union all
    select u.id, path.name || ' - ' || u.name from units u join path on path.id = u.parent_id
)
select count(*) from bare b
left join (people p join path on path.id = p.unit_id left join people m on m.id = p.manager_id)
       on p.source = 'hr' and p.employee_id = b.employee_id
where (b.given_name, b.family_name, b.login, b.email, b.title, b.unit, nullif(b.manager, ''), lower(b.status),
       case b.locale when 'Swedish' then 'sv' end, b.time_zone)
      is distinct from
      (p.given_name, p.family_name, p.login, p.email, p.title, path.name, m.employee_id, p.status, p.locale,
       p.time_zone)
"""


Side = Callable[[Pool], Awaitable[float]]
"""Does a job in this database; gives the seconds it took, without what was made ready for it."""


def run(servers: Servers, options: Options) -> Result:
    """Rates in people of the file per second."""
    return uvloop.run(_run(servers, options))


async def _run(servers: Servers, options: Options) -> Result:
    people = options.size(PEOPLE)
    first, following = _export(servers, people, 0.0), _export(servers, people, CHANGED)
    changes = sum(line != other for line, other in zip(first.splitlines(), following.splitlines(), strict=True))
    empty = await servers.template("enrolment")
    known, left = await _known(servers, empty, first)
    jobs: dict[str, tuple[str, Side]] = {
        "first": (empty, partial(_import, content=first)),
        "copy": (empty, partial(_copy, left=left)),
        "unchanged": (known, partial(_import, content=first, events=0)),
        "unchanged bare": (known, partial(_compare, content=first, differ=0)),
        "changed": (known, partial(_import, content=following, events=changes)),
        "changed bare": (known, partial(_compare, content=following, differ=changes)),
    }

    async def measured(template: str, side: Side) -> float:
        return people / await _timed(servers, template, side)

    rounds = await in_turn({name: partial(measured, *job) for name, job in jobs.items()}, options)
    await servers.drop(empty)
    await servers.drop(known)
    return Result(
        name="hr_import", unit="people/s", goal=GOAL_FIRST, ours=median(rounds, "first"), limit=median(rounds, "copy"),
        ratio=median_ratio(rounds, "first", "copy"), rounds=rounds,
        details={
            "unchanged": {**_beside_bare(rounds, "unchanged"), "goal": GOAL_UNCHANGED, "events": 0},
            "one in a hundred changed": {**_beside_bare(rounds, "changed"), "events": changes},
            "people": people,
        },
    )  # fmt: skip


def _export(servers: Servers, people: int, changed: float) -> bytes:
    file = servers.directory / "export.csv"
    people_file.write(file, people, changed=changed)
    return file.read_bytes()


def _beside_bare(rounds: list[dict[str, float]], name: str) -> dict[str, float]:
    bare = f"{name} bare"
    return {"ours": median(rounds, name), "limit": median(rounds, bare), "ratio": median_ratio(rounds, name, bare)}


async def _known(servers: Servers, empty: str, content: bytes) -> tuple[str, dict[str, list[tuple[Any, ...]]]]:
    """A database that has imported the file and published its events, and the rows of each table that this leaves."""
    name = await servers.clone(empty)
    await _timed_in(servers, name, partial(_import, content=content))
    conn = await asyncpg.connect(servers.dsn(name))
    left = {table: [tuple(row) for row in await conn.fetch(f"select * from {table}")] for table in _COPIED}  # noqa: S608
    await conn.execute("truncate outbox, imports")
    await conn.execute("vacuum analyze")
    await conn.close()
    return name, left


async def _timed(servers: Servers, template: str, side: Side) -> float:
    database = await servers.clone(template)
    seconds = await _timed_in(servers, database, side)
    await servers.drop(database)
    return seconds


async def _timed_in(servers: Servers, database: str, side: Side) -> float:
    async with await create_pool(servers.settings(Settings, database), name="bench") as pool:
        await pool.fetchval("select count(*) from people")  # connected, as a worker is
        return await side(pool)


async def _import(pool: Pool, content: bytes, events: int | None = None) -> float:
    """An import as a worker does it, from its timer on."""
    import_id, options = new_id(), importing.Options()
    async with transaction(pool) as conn:
        await ledger.add_import(
            conn, import_id, source=options.source, options=asdict(options), file_name=None, content=content,
            requested_by="machine:bench", now=NOW,
        )  # fmt: skip
        await schedule(conn, IMPORT, str(import_id), NOW)
    watch = Stopwatch()
    await Timers(pool, Clock(None), {IMPORT: run_imports(pool)}).tick(IMPORT)
    seconds = watch.seconds
    ended = await ledger.find_import(pool, import_id)  # type: ignore[arg-type] # one statement needs no transaction
    assert ended is not None
    assert (ended.status, ended.counts["warnings"]) == ("done", 0), ended.report
    if events is not None:
        assert await pool.fetchval("select count(*) from outbox") == events, ended.counts
    return seconds


async def _copy(pool: Pool, left: dict[str, list[tuple[Any, ...]]]) -> float:
    watch = Stopwatch()
    async with pool.acquire() as conn, conn.transaction():
        for table, rows in left.items():
            await conn.copy_records_to_table(table, records=rows)
    return watch.seconds


async def _compare(pool: Pool, content: bytes, differ: int) -> float:
    watch = Stopwatch()
    async with pool.acquire() as conn, conn.transaction():
        rows = csv.reader(io.StringIO(content.decode(), newline=""))
        next(rows)
        await conn.execute(_TEMPORARY)
        await conn.copy_records_to_table("bare", records=rows)
        await conn.execute("analyze bare")
        found = await conn.fetchval(_DIFFERENT)
    assert found == differ
    return watch.seconds
