"""The tree of units, with units that were merged and a tree that was turned into a circle."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from shared.directory.unit_tree import above, is_under, units_below
from shared.ids import new_id
from shared.postgres.pool import Pool, create_pool
from shared.settings import Settings
from tests.support.databases import Databases
from tests.support.settings import make_settings

CARE, HOME, NIGHT, OLD, SCHOOL = (new_id() for _ in range(5))


@pytest.fixture
async def pool(database: Databases) -> AsyncIterator[Pool]:
    pool = await create_pool(make_settings(Settings, await database("portal")), name="test")
    tree = [(CARE, None, None), (HOME, CARE, None), (NIGHT, HOME, None), (OLD, None, HOME), (SCHOOL, None, None)]
    for unit, parent, merged in tree:
        await pool.execute(
            "insert into units (id, name, parent_id, merged_into) values ($1, 'x', $2, $3)", unit, parent, merged
        )
    yield pool
    await pool.close()


async def _above(pool: Pool, unit: UUID) -> set[UUID]:
    rows = await pool.fetch(f"with recursive {above('select $1::uuid')} select origin, id from above", unit)
    assert {row["origin"] for row in rows} == {unit}
    return {row["id"] for row in rows}


async def test_a_unit_lies_below_its_parents_and_below_what_it_was_merged_into(pool: Pool) -> None:
    assert await _above(pool, NIGHT) == {NIGHT, HOME, CARE}
    assert await _above(pool, OLD) == {OLD, HOME, CARE}
    async with pool.acquire() as conn:
        assert await units_below(conn, [CARE]) == {CARE, HOME, NIGHT, OLD}
        assert await units_below(conn, [NIGHT, SCHOOL]) == {NIGHT, SCHOOL}
        assert await is_under(conn, OLD, [SCHOOL, CARE])
        assert not await is_under(conn, CARE, [HOME])


async def test_a_tree_that_was_turned_into_a_circle_still_ends(pool: Pool) -> None:
    await pool.execute("update units set parent_id = $1 where id = $2", NIGHT, CARE)
    assert await _above(pool, CARE) == {CARE, HOME, NIGHT}
    async with pool.acquire() as conn:
        assert await units_below(conn, [NIGHT]) == {CARE, HOME, NIGHT, OLD}
