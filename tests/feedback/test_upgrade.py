"""What a released version's database becomes."""

import asyncio

import asyncpg

from services.feedback.service import SERVICE
from shared.postgres.migrate import migrate
from tests.support.databases import Databases


async def test_of_what_0_1_0_kept_of_answers_only_the_reports_remain(database: Databases) -> None:
    dsn = await database.released("0.1.0", "feedback")
    conn = await asyncpg.connect(dsn)
    try:
        assert await conn.fetchval("select count(*) from answers where respondent_group in ('self', 'manager')") > 0
        shown = "select c.* from cells c join rounds r on r.id = round_id where r.state = 'released'"
        reports = await conn.fetch(shown)
        withheld = "select id from rounds where state = 'withheld' limit 1"
        await conn.execute(
            f"insert into cells select id, 'improving', 'self', 'released', 1, 2.0 from ({withheld}) as r"
        )
        await asyncio.to_thread(migrate, dsn, SERVICE)
        assert await conn.fetchval("select to_regclass('answers')") is None
        kept = await conn.fetch("select * from cells")
        assert len(kept) > 0
        assert {tuple(row) for row in kept} == {tuple(row) for row in reports}
    finally:
        await conn.close()
