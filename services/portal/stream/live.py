"""What a portal process keeps running for its readers."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from fastapi import FastAPI
from starlette.requests import Request

from services.portal.dashboard.snapshot import Snapshots
from services.portal.settings import PortalSettings
from services.portal.stream.access_watch import AccessWatch
from services.portal.stream.broadcast import Broadcaster
from services.portal.stream.reader import StreamTimes
from services.portal.stream.slots import Slots
from services.portal.stream.wording import Translate
from shared.web.render import Web


@dataclass(frozen=True, slots=True)
class Live:
    """Shared by all requests of a process; `text` words events for people."""

    snapshots: Snapshots
    broadcaster: Broadcaster
    pace: StreamTimes
    text: Translate
    slots: Slots
    access: AccessWatch


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
    pace = StreamTimes(
        heartbeat=settings.stream_heartbeat_seconds,
        stall=settings.stream_stall_seconds,
        visit=settings.stream_visit_minutes * 60,
    )
    slots = Slots(settings.stream_readers, settings.stream_readers_each)
    access = AccessWatch(app.state.pool, app.state.clock.now)
    app.state.live = Live(snapshots, broadcaster, pace, text, slots, access)
    tasks = [asyncio.create_task(broadcaster.run()), asyncio.create_task(access.run())]
    try:
        with _before_the_server_stops(broadcaster.close):
            yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@contextmanager
def _before_the_server_stops(do: Callable[[], None]) -> Iterator[None]:
    """Have `do` called when the process is asked to stop.

    The server waits for open responses before it ends the lifespan, and a stream never ends by itself: without this
    every stop would last as long as the server's patience.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are heard in the main thread only
        return
    loop = asyncio.get_running_loop()
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}

    def stopping(signum: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(do)
        inner = before[signal.Signals(signum)]
        if callable(inner):
            inner(signum, frame)

    heard = [signum for signum, handler in before.items() if callable(handler)]
    for signum in heard:
        signal.signal(signum, stopping)
    try:
        yield
    finally:
        for signum in heard:
            signal.signal(signum, before[signum])


def translate(web: Web) -> Translate:
    """The process's texts, None for a key that has none."""
    texts = web.texts

    def text(key: str, locale: str) -> str | None:
        return texts.get(key, locale) if key in texts else None

    return text
