"""A running broadcaster, and readers that parse what comes over the wire."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from services.portal.dashboard.snapshot import Snapshots
from services.portal.stream.access_watch import WatchedStream
from services.portal.stream.broadcast import Broadcaster
from services.portal.stream.domain import StreamFilter
from services.portal.stream.reader import StreamTimes, opening_frame, read
from shared.postgres.pool import Pool
from shared.security.credentials import MachineToken
from shared.security.principal import Principal


@dataclass(frozen=True)
class Message:
    """One server-sent event as a client would see it."""

    event: str
    id: int | None
    data: Any


def parse(block: str) -> Message:
    fields = {"event": "message"}
    for line in block.splitlines():
        name, _, value = line.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
    data = json.loads(fields["data"]) if "data" in fields else None
    return Message(
        fields["event"] if data is not None else "comment", int(fields["id"]) if "id" in fields else None, data
    )


@dataclass
class Stream:
    """What a portal process has for its readers."""

    pool: Pool
    snapshots: Snapshots
    broadcaster: Broadcaster
    pace: StreamTimes = StreamTimes(heartbeat=5, stall=5, visit=3600)  # noqa: RUF009 - frozen

    async def read(self, wanted: StreamFilter | None = None, after: int | None = None) -> AsyncGenerator[Message, None]:
        wanted = wanted or StreamFilter()
        greeting = await opening_frame(self.snapshots, wanted, after)
        visit = WatchedStream(MachineToken(b""), Principal("machine", "machine:reader", None, "reader"))
        generator = read(self.pool, self.broadcaster, wanted, greeting, self.pace, visit)
        try:
            async for chunk in generator:
                for block in chunk.decode().split("\n\n"):
                    if block:
                        yield parse(block)
        finally:
            await generator.aclose()


@asynccontextmanager
async def running(pool: Pool, **options: Any) -> AsyncIterator[Stream]:
    snapshots = Snapshots(pool)
    settings: dict[str, Any] = {"poll_seconds": 0.02, "buffer_bytes": 262_144} | options
    broadcaster = Broadcaster(
        pool, snapshots, lambda key, _locale: "{cohort}" if "requested" in key else None, **settings
    )
    task = asyncio.create_task(broadcaster.run())
    yield Stream(pool, snapshots, broadcaster)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture
async def stream(pool: Pool) -> AsyncIterator[Stream]:
    async with running(pool) as stream:
        yield stream
