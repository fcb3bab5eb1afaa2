"""A notifications database with people in it, a mail server, and senders between them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from services.notifications.channels.mail.sender import MailSender, SenderSettings
from services.notifications.channels.mail.smtp import ServerSettings
from services.notifications.routing.handlers import queue_mail
from shared.clock import Clock
from shared.ids import new_id
from shared.messaging.handler import Received
from shared.postgres.pool import Pool, create_pool
from shared.settings import Settings
from tests.notifications.factories import COMPOSER, invitation, received
from tests.notifications.mail_server import MailServer
from tests.support.databases import Databases
from tests.support.settings import make_settings


@pytest.fixture
async def dsn(database: Databases) -> str:
    """A fresh notifications database."""
    return await database("notifications")


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    made = await create_pool(make_settings(Settings, dsn), name="tests")
    yield made
    await made.close()


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    made = MailServer()
    await made.start()
    yield made
    await made.stop()


@dataclass
class Directory:
    """Puts people into the projection, as the directory's handlers would."""

    pool: Pool

    async def person(self, **changes: Any) -> UUID:
        person_id = new_id()
        values: dict[str, Any] = {
            "id": person_id,
            "given_name": "Åsa",
            "family_name": "Öberg",
            "email": f"p{person_id.hex}@example.org",
            "unit_id": new_id(),
            "status": "active",
            "locale": "sv",
            "time_zone": "Europe/Stockholm",
        } | changes
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        await self.pool.execute(f"insert into people ({', '.join(values)}) values ({places})", *values.values())
        return person_id


@pytest.fixture
def directory(pool: Pool) -> Directory:
    return Directory(pool)


async def route(pool: Pool, events: list[Received[Any]], *, now: Any = None) -> list[Any]:
    """Hand events to the routing handler as the consumer would, in one transaction."""
    async with pool.acquire() as conn, conn.transaction():
        return list(await queue_mail("example.org")(conn, events, now or Clock().now()) or ())


async def invite(pool: Pool, directory: Directory, count: int = 1, **changes: Any) -> list[UUID]:
    """Queue this many invitations, each to a person of its own; returns the causing events' ids."""
    subject = await directory.person(given_name="Kim", family_name="Larsson")
    closes_at = Clock().now() + timedelta(days=14)
    events = [
        received(invitation(await directory.person(**changes), subject, closes_at=closes_at)) for _ in range(count)
    ]
    await route(pool, events)
    return [event.id for event in events]


Sending = Callable[..., AbstractAsyncContextManager[MailSender]]


@asynccontextmanager
async def sender_for(
    pool: Pool,
    port: int,
    *,
    connections: int = 2,
    batch: int = 50,
    lease: float = 60,
    timeout: float = 5,
    clock_file: Path | None = None,
) -> AsyncIterator[MailSender]:
    """Run a sender against the server on `port`; on leaving it is stopped as a worker stops it."""
    smtp = ServerSettings("127.0.0.1", port, "none", None, None, None, timeout)
    settings = SenderSettings(smtp, connections, batch, timedelta(seconds=lease), poll_seconds=0.02)
    sender = MailSender(pool, COMPOSER, settings, Clock(clock_file))
    task = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def sending(pool: Pool, server: MailServer) -> Sending:
    """`async with sending():` runs a sender against `server`."""
    return lambda **changes: sender_for(pool, server.port, **changes)


async def until(condition: Callable[[], Awaitable[bool] | bool], *, seconds: float = 20) -> None:
    """Wait until something is so; fail when it is not in time."""
    async with asyncio.timeout(seconds):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.02)


async def statuses(pool: Pool) -> list[str]:
    """The status of every notification, oldest first."""
    return [row["status"] for row in await pool.fetch("select status from deliveries order by id")]
