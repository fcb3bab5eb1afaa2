from collections.abc import AsyncIterator

import httpx
import pytest

from services.feedback.service import SERVICE
from services.feedback.settings import FeedbackSettings
from shared.postgres.pool import create_pool
from tests.feedback.house import SECRETS, House
from tests.support.databases import Databases
from tests.support.serving import client_of
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


@pytest.fixture
async def visitor(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who is not signed in, at feedback's API process; it runs without either secret."""
    settings = house.settings.model_copy(update={"link_secret": None, "ballot_secret": None})
    async with client_of(SERVICE.create_api(settings)) as client:
        yield client
