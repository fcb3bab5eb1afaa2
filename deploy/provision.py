"""One database and one role for each service on a Postgres server, created if missing."""

import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from deploy.services import find_service
from shared.postgres.migrate import migrate


async def create_databases(admin_dsn: str, passwords: Mapping[str, str]) -> dict[str, str]:
    """Make database and role `medled_<service>` for every key of `passwords`; returns each service's DSN.

    `admin_dsn` names a role that may create roles and databases. Safe to run again: an existing role gets the password
    anew, existing data is left alone. Every role can connect to its own database only.
    """
    conn = await asyncpg.connect(admin_dsn, timeout=10)
    try:
        for service, password in passwords.items():
            await _create(conn, f"medled_{service}", password)
    finally:
        await conn.close()
    return {service: _dsn(admin_dsn, f"medled_{service}", password) for service, password in passwords.items()}


async def _create(conn: "asyncpg.Connection[asyncpg.Record]", name: str, password: str) -> None:
    # Names are ours and plain; a password is quoted by the server, since DDL takes no parameters.
    secret = await conn.fetchval("select quote_literal($1)", password)
    exists = await conn.fetchval("select true from pg_roles where rolname = $1", name)
    await conn.execute(f"{'alter' if exists else 'create'} role {name} login password {secret}")
    if not await conn.fetchval("select true from pg_database where datname = $1", name):
        await conn.execute(f"grant {name} to current_user")  # a superuser has no need, any other admin has
        await conn.execute(f"create database {name} owner {name}")
        await conn.execute(f"revoke connect on database {name} from public")


def migrate_all(databases: Mapping[str, str]) -> None:
    """Bring every service's database up to date, side by side.

    Raises `MigrationFailedError` with dbmate's own words.
    """
    with ThreadPoolExecutor(len(databases)) as threads:
        for service, running in [
            (name, threads.submit(migrate, dsn, find_service(name))) for name, dsn in databases.items()
        ]:
            try:
                running.result()
            except subprocess.CalledProcessError as error:
                raise MigrationFailedError(f"migrating {service} failed: {error.stderr.strip()}") from error


class MigrationFailedError(RuntimeError):
    """A database could not be brought up to date."""


def _dsn(admin_dsn: str, name: str, password: str) -> str:
    parts = urlsplit(admin_dsn)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{name}:{quote(password, safe='')}@{address}", path=f"/{name}"))
