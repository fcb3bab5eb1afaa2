"""What a portal process keeps running for its readers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.requests import Request

from services.portal.dashboard.snapshot import Snapshots
from services.portal.settings import PortalSettings
from services.portal.stream.broadcast import Broadcaster
from services.portal.stream.reading import Pace
from services.portal.stream.wording import Translate
from shared.web import Web


@dataclass(frozen=True, slots=True)
class Live:
    """Shared by all requests of a process; `text` words events for people."""

    snapshots: Snapshots
    broadcaster: Broadcaster
    pace: Pace
    text: Translate
    most_readers: int


def live(request: Request) -> Live:
    """The process's own."""
    found: Live = request.app.state.live
    return found


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """The app's lifespan: the broadcaster polls from the first request to the last."""
    settings: PortalSettings = app.state.settings
    snapshots = Snapshots(app.state.pool)
    text = translate(app.state.web)
    broadcaster = Broadcaster(
        app.state.pool, snapshots, text,
        poll_seconds=settings.stream_poll_seconds, buffer_bytes=settings.stream_buffer_bytes,
    )  # fmt: skip
    pace = Pace(
        heartbeat=settings.stream_heartbeat_seconds,
        stall=settings.stream_stall_seconds,
        visit=settings.stream_visit_minutes * 60,
    )
    app.state.live = Live(snapshots, broadcaster, pace, text, settings.stream_readers)
    task = asyncio.create_task(broadcaster.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def translate(web: Web) -> Translate:
    """The process's texts, None for a key that has none."""
    texts = web.texts

    def text(key: str, locale: str) -> str | None:
        return texts.get(key, locale) if key in texts else None

    return text
