"""What tests of the consumer stand on."""

from collections.abc import AsyncIterator

import pytest

from shared.postgres.pool import Pool, create_pool
from shared.settings import Settings
from tests.shared.consuming import Hands
from tests.support.databases import Databases
from tests.support.settings import make_settings


@pytest.fixture
async def pool(database: Databases) -> AsyncIterator[Pool]:
    pool = await create_pool(make_settings(Settings, await database("portal")), name="test")
    await pool.execute("create table effects (handler text, caused_by uuid, subject text, sequence bigint)")
    yield pool
    await pool.close()


@pytest.fixture
def clock() -> Hands:
    return Hands()
