from collections.abc import AsyncIterator

import httpx
import pytest

from services.feedback.app import create_api
from tests.feedback.house import House
from tests.support.serving import client_of


@pytest.fixture
async def visitor(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who is not signed in, at feedback's API process; it runs without either secret."""
    settings = house.settings.model_copy(update={"link_secret": None, "ballot_secret": None})
    async with client_of(create_api(settings)) as client:
        yield client
