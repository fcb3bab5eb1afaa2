"""The database: pools, the unit of work, migrations.

`async with transaction(pool) as conn` is the unit of work: opened at the edge, committed once.
"""

import json
from typing import TYPE_CHECKING

import asyncpg

from shared.settings import Settings

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool


# A peer that vanished without a word is noticed within 10 s, so that its advisory locks come free (ADR 0002).
_SERVER_SETTINGS = {
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "lock_timeout": "50s",  # sooner than a statement's: waiting for somebody else's lock is no fault of the statement
    "timezone": "UTC",
    "jit": "off",  # our statements are short; compiling them costs more than it gives
}


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
