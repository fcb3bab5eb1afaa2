from collections.abc import AsyncIterator

import pytest

from services.feedback.settings import FeedbackSettings
from shared.db import create_pool
from tests.feedback.house import SECRETS, House
from tests.support.databases import Databases
from tests.support.settings import make_settings


@pytest.fixture
async def feedback_settings(database: Databases) -> FeedbackSettings:
    return make_settings(FeedbackSettings, await database("feedback"), **SECRETS)


@pytest.fixture
async def house(feedback_settings: FeedbackSettings) -> AsyncIterator[House]:
    """An organisation with one co-leader, a manager and eight peers."""
    pool = await create_pool(feedback_settings, name="test")
    home = House(pool, feedback_settings)
    await home.move_in()
    yield home
    await pool.close()
