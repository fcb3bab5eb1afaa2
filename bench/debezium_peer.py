"""Debezium's engine as a peer: its jars by Maven, one process, and how fast it takes a backlog."""

import asyncio
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import asyncpg

from bench.measure import until
from bench.servers import Servers
from deploy.embedded.process import Child, StartFailedError

_HERE = Path(__file__).with_name("debezium")
_ROOT = Path(__file__).resolve().parents[1]
VERSION = "3.6.1.Final"
_TRANSACTION = 2_000  # rows of a backlog that are committed at once
# What a slot that nobody reads keeps of the log would slow down everybody after it.
DROP_SLOTS = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active"


class DebeziumUnavailableError(StartFailedError):
    """Debezium cannot be run here; the message says why."""


def relay(servers: Servers, database: str) -> Child:
    """A process that publishes that database's outbox from now on; raises DebeziumUnavailableError."""
    return Child(
        name="debezium",
        command=[
            "java", "-Xmx512m", "-cp", str(_classes()) + os.pathsep + f"{_jars()}/*", "OutboxRelay",
            "127.0.0.1", str(servers.postgres.port), database, servers.kafka.bootstrap,
        ],
        log=servers.directory / f"debezium-{database}.log",
    )  # fmt: skip


def published(relay: Child) -> tuple[int, float]:
    """How many events that process has published, and when (seconds) it had."""
    last = [line.split() for line in relay.tail(3).splitlines() if line.startswith("published ")][-1:]
    return (int(last[0][1]), int(last[0][3]) / 1000) if last and len(last[0]) == 4 else (0, 0.0)


async def backlog(servers: Servers, template: str) -> float:
    """Debezium's engine, running, after it has published as much once before: Java is half as fast again by then.

    It reads Postgres's log, so the rows are written anew, while it is stopped; time runs from when it goes on.
    """
    database = await servers.clone(template)
    engine = relay(servers, database)
    conn = await asyncpg.connect(servers.dsn(database))
    try:
        await conn.execute(
            "create table backlog as select * from outbox; truncate outbox; alter table backlog add primary key (seq)"
        )
        rows: int = await conn.fetchval("select count(*) from backlog")
        engine.start()
        before = await _publish_warm_up(conn, engine, rows)
        engine.freeze()
        await _write_again(conn, rows)
        began = time.time()
        engine.thaw()
        await until(lambda: published(engine)[0] >= before + rows)
        return rows / (published(engine)[1] - began)
    finally:
        await conn.close()
        engine.kill()
        await servers.execute(DROP_SLOTS)
        await servers.drop(database)


async def _publish_warm_up(conn: Any, engine: Child, rows: int) -> int:
    """How many it has published when it has caught up: it publishes nothing from before it began."""
    while not published(engine)[0]:
        assert engine.running, engine.tail(30)
        await _write_again(conn, 1)
        await asyncio.sleep(0.2)
    await _write_again(conn, rows)
    before = 0
    while (found := published(engine)[0]) < rows or found != before:
        before = found
        await asyncio.sleep(1)
    return before


async def _write_again(conn: Any, rows: int) -> None:
    for first in range(0, rows, _TRANSACTION):
        await conn.execute(
            """
            insert into outbox (id, topic, key, subject, type, caused_by, headers, payload, compacted)
            select id, topic, key, subject, type, caused_by, headers, payload, compacted from backlog
            order by seq offset $1 limit $2
            """,
            first,
            min(_TRANSACTION, rows - first),
        )


def available() -> str | None:
    """None when Debezium can be measured, else why it cannot."""
    try:
        _classes()
    except DebeziumUnavailableError as missing:
        return str(missing)
    return None


def _cache() -> Path:
    cache = Path(os.environ.get("MEDLED_CACHE", _ROOT / ".cache")) / "debezium"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _jars() -> Path:
    lib = _cache() / "lib"
    if lib.exists():
        return lib
    fetched = _cache() / "lib.new"
    shutil.rmtree(fetched, ignore_errors=True)
    options = [f"-DoutputDirectory={fetched}", "-DincludeScope=runtime"]
    _run("mvn", "-q", "-B", "-f", str(_HERE / "pom.xml"), "dependency:copy-dependencies", *options)
    return fetched.rename(lib)


def _classes() -> Path:
    classes = _cache() / "classes"
    source = _HERE / "OutboxRelay.java"
    made = classes / "OutboxRelay.class"
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        _run("javac", "-d", str(classes), "-cp", f"{_jars()}/*", str(source))
    return classes


def _run(*command: str) -> None:
    if shutil.which(command[0]) is None:
        raise DebeziumUnavailableError(f"{command[0]} is not installed")
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise DebeziumUnavailableError(f"{command[0]} failed: {(ended.stdout + ended.stderr)[-500:]}")
