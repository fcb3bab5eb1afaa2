"""A database is migrated while an import is under way, whose file may be large."""

import asyncio

import pytest

from services.enrolment.imports.store import ledger
from services.enrolment.service import SERVICE
from shared.postgres.migrate import migrate
from shared.postgres.pool import Connection
from tests.enrolment.imports.conftest import Importer
from tests.enrolment.imports.test_importing import export, line
from tests.support.databases import Databases

MIGRATIONS = SERVICE.migrations[0]


async def _take_back(conn: Connection, name: str) -> None:
    """As it was before this migration."""
    [path] = MIGRATIONS.folder.glob(f"*_{name}.sql")
    await conn.execute(path.read_text().split("-- migrate:down")[1])
    await conn.execute(f"delete from {MIGRATIONS.table} where version = $1", path.name.split("_")[0])


@pytest.mark.parametrize("name", ["said", "kept_files"])
async def test_a_migration_waits_for_an_import_under_way_and_nobody_waits_for_the_migration(
    name: str, importer: Importer, database: Databases
) -> None:
    import_id = await importer.send(export(line("1")))
    async with importer.pool.acquire() as conn, importer.pool.acquire() as other:
        dsn = database.server.dsn(await conn.fetchval("select current_database()"))
        await _take_back(conn, name)
        running = conn.transaction()
        await running.start()
        assert await ledger.import_content(conn, import_id)
        migrating = asyncio.create_task(asyncio.to_thread(migrate, dsn, SERVICE))
        for percent in range(30):
            async with asyncio.timeout(1):
                assert await ledger.note_progress(other, import_id, "checking", percent, {})
            await asyncio.sleep(0.1)
        assert not migrating.done()
        await running.rollback()
        async with asyncio.timeout(20):
            await migrating
        assert await conn.fetchval("select to_regclass('people_said') is not null")
        assert await conn.fetchval("select kept_until is null from imports")
