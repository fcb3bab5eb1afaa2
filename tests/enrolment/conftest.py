from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.enrolment.world import World, opened
from tests.support.databases import Databases


@pytest.fixture
async def world(database: Databases, tmp_path: Path) -> AsyncIterator[World]:
    """An organisation of three units and nobody in them yet, with the service's API on a database of its own."""
    async with opened(await database("enrolment"), tmp_path) as world:
        yield world
