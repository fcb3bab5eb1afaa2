"""A worker process as a whole: when it begins, and what it says of itself. Real Postgres, no broker."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import httpx

from deploy.embedded.process import free_port
from services.portal.service import SERVICE
from shared.clock import Clock
from shared.ids import new_id
from shared.postgres.pool import Connection, create_pool
from shared.runtime.worker import Worker
from shared.settings import Settings
from shared.timers import Due, schedule
from tests.support.backbone import until
from tests.support.databases import Databases
from tests.support.settings import make_settings


async def test_a_worker_begins_once_its_database_is_migrated_and_says_what_it_waits_for(database: Databases) -> None:
    settings = make_settings(Settings, await database("portal"), port=free_port())
    pool = await create_pool(settings, name="test")
    rows = await pool.fetch("delete from schema_migrations_portal returning version")
    applied = sorted(row["version"] for row in rows)
    ran = asyncio.Event()

    async def note(conn: Connection, due: Sequence[Due], now: datetime) -> None:
        ran.set()

    async with pool.acquire() as conn:
        await schedule(conn, "test.note", "k", Clock(None).now())
    worker = asyncio.create_task(Worker(settings, pool, service=SERVICE, handlers=[], timers={"test.note": note}).run())
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.port}") as client:

            async def answers() -> bool:
                try:
                    return (await client.get("/health/live")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(answers)
            await asyncio.sleep(0.5)  # two ticks of a timer, if it ticked
            ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "not_ready")
        assert ready.json()["database"]["pending_migrations"] == applied
        assert not ran.is_set()
        await pool.execute("insert into schema_migrations_portal select unnest($1::text[])", applied)
        await asyncio.wait_for(ran.wait(), 10)
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        await pool.close()


async def test_a_worker_lets_its_audit_log_go_after_the_days_it_is_kept_and_never_unless_told(
    database: Databases,
) -> None:
    pool = await create_pool(make_settings(Settings, await database("portal")), name="test")
    try:
        for days in (29, 31, 400):
            await pool.execute(
                "insert into audit_log (id, at, principal, action, subject) values ($1, $2, 'person:x', 'x.read', $1)",
                new_id(), datetime.now(UTC) - timedelta(days=days),
            )  # fmt: skip
        for kept, left in ((None, 3), (365, 2), (30, 1)):
            settings = make_settings(Settings, "postgresql://unused", audit_retention_days=kept, port=free_port())
            worker = asyncio.create_task(Worker(settings, pool, service=SERVICE, handlers=[], timers={}).run())

            async def are_left(expected: int = left) -> bool:
                return bool(expected == await pool.fetchval("select count(*) from audit_log where action = 'x.read'"))

            try:
                await asyncio.sleep(0.5)  # one that keeps everything is given the time to forget
                await until(are_left)
            finally:
                worker.cancel()
                await asyncio.gather(worker, return_exceptions=True)
        told = await pool.fetch("select principal, action from audit_log where action <> 'x.read'")
        assert [tuple(row) for row in told] == [("medled:retention", "audit.forgotten")] * 2
    finally:
        await pool.close()
