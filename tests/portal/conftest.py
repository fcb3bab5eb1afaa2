"""A portal database, and a way to hand facts to the handlers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime

import pytest

from services.portal.dashboard import handlers as dashboard_handlers
from services.portal.settings import PortalSettings
from services.portal.stream import handlers as stream_handlers
from shared.events import Event
from shared.messaging.handler import Received
from shared.postgres.pool import Connection, Pool, create_pool
from shared.postgres.transaction import transaction
from tests.portal.facts import NOW
from tests.support.databases import Databases
from tests.support.settings import make_settings

Take = Callable[[Sequence[Received[Event]]], Awaitable[None]]


@pytest.fixture
async def settings(database: Databases) -> PortalSettings:
    return make_settings(PortalSettings, await database("portal"))


@pytest.fixture
async def pool(settings: PortalSettings) -> AsyncIterator[Pool]:
    pool = await create_pool(settings, name="test")
    yield pool
    await pool.close()


@pytest.fixture
def take(pool: Pool) -> Take:
    """Hand facts to every handler that wants them, as one batch; nothing else keeps duplicates away."""

    async def take(facts: Sequence[Received[Event]]) -> None:
        async with transaction(pool) as conn:
            await apply(conn, facts, NOW)

    return take


async def apply(conn: Connection, facts: Sequence[Received[Event]], now: datetime) -> None:
    for handler in dashboard_handlers.handlers() + stream_handlers.handlers():
        wanted = [fact for fact in facts if isinstance(fact.data, handler.events)]
        if wanted:
            await handler.apply(conn, wanted, now)
