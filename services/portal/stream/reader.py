"""One reader's way through the stream: greeting, what was missed, then live; and again when it fell behind."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass

from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.portal.dashboard.snapshot import Snapshots
from services.portal.stream import store
from services.portal.stream.access_watch import WatchedStream
from services.portal.stream.broadcast import Broadcaster
from services.portal.stream.domain import StreamFilter, gap
from services.portal.stream.follower import Chunk, Follower
from services.portal.stream.slots import Slot
from shared.http.methods import is_head
from shared.postgres.failures import UNAVAILABLE
from shared.postgres.pool import Pool
from shared.postgres.transaction import transaction

_PAGE = 50  # entries of about 3 kB: a reader that takes nothing holds one page, and the buffer's limit
_RETRY_MS = 1000
_RETRY_AFTER_ERROR = 1.0


@dataclass(frozen=True, slots=True)
class StreamTimes:
    """Seconds: between signs of life, until a reader that takes nothing is let go, and until one has to come again.

    Coming again costs a reader nothing, and spreads readers anew over the processes there are.
    """

    heartbeat: float
    stall: float
    visit: float


@dataclass(frozen=True, slots=True)
class OpeningFrame:
    """The first bytes a reader gets, and the position it goes on from."""

    body: bytes
    position: int


async def opening_frame(snapshots: Snapshots, wanted: StreamFilter, after: int | None) -> OpeningFrame:
    """Figures of now. `after` is where the reader goes on from; None starts it at the present."""
    snapshot = await snapshots.recent(wanted.within)
    if after is None:
        at = snapshot.figures.position
        return OpeningFrame(format_sse_event(event="snapshot", data_str=snapshot.json, id=str(at), retry=_RETRY_MS), at)
    # Without an id: somebody who resumes is still where they were, however new the figures are.
    return OpeningFrame(format_sse_event(event="snapshot", data_str=snapshot.json, retry=_RETRY_MS), after)


async def read(
    pool: Pool,
    broadcaster: Broadcaster,
    wanted: StreamFilter,
    greeting: OpeningFrame,
    pace: StreamTimes,
    visit: WatchedStream,
) -> AsyncGenerator[bytes, None]:
    """The bytes one reader gets, from the greeting until its time is up or it is no longer let in."""
    leave_at = asyncio.get_running_loop().time() + pace.visit * random.uniform(0.9, 1.1)
    position = greeting.position
    wanted = broadcaster.shared(wanted)
    yield greeting.body
    while not (broadcaster.closing or visit.has_ended()) and asyncio.get_running_loop().time() < leave_at:
        async with aclosing(_catch_up(pool, broadcaster, wanted, position)) as missed:
            async for chunk in missed:
                position = chunk.position
                if visit.has_ended():
                    break
                if chunk.size:
                    yield b"".join(chunk.frames)
        follower = broadcaster.attach(wanted, position)
        if follower is None:
            continue
        visit.wake = follower.wake
        try:
            async for body in _live(broadcaster, follower, pace.heartbeat, leave_at, visit):
                yield body
        finally:
            visit.wake = None
            broadcaster.detach(follower)
        position = follower.position
    reason = "restarting" if broadcaster.closing else "access_ended" if visit.has_ended() else "visit_over"
    yield format_sse_event(event="resume", data_str=json.dumps({"after": position, "reason": reason}))


async def _catch_up(
    pool: Pool, broadcaster: Broadcaster, wanted: StreamFilter, position: int
) -> AsyncGenerator[Chunk, None]:
    """Entries between `position` and the stream's head, page by page; ends when there is nothing more to read now."""
    while True:
        try:
            async with transaction(pool) as conn:
                page = await store.read_after(conn, position, _PAGE, wanted)
        except UNAVAILABLE:
            await asyncio.sleep(_RETRY_AFTER_ERROR)
            yield Chunk.of(position, b": waiting for the database\n\n")
            continue
        missing = gap(position, pruned_to=page.pruned_to, head=page.head)
        if missing is not None:
            position = missing.kept_after
            told = format_sse_event(event="gap", data_str=json.dumps(asdict(missing)), id=str(position))
            yield Chunk.of(position, told)
            if missing.reason == "unknown_position":
                continue  # what was read came after a position that never was
        full = len(page.entries) == _PAGE
        position = page.entries[-1].position if full else page.head
        yield Chunk.of(position, *(broadcaster.frame(entry) for entry in page.entries))
        if not full:
            return


async def _live(
    broadcaster: Broadcaster, follower: Follower, heartbeat: float, leave_at: float, visit: WatchedStream
) -> AsyncGenerator[bytes, None]:
    """What the broadcaster hands over, until the visit is over or the reader has fallen behind."""
    while not visit.has_ended() and (left := leave_at - asyncio.get_running_loop().time()) > 0:
        body = await follower.take(min(heartbeat, left))
        if body is not None:
            yield body
        elif follower.overrun or broadcaster.closing or visit.has_ended():
            return
        else:
            # An id without data moves the reader's Last-Event-ID and calls nobody: a reader whose filter lets little
            # through still resumes from near the present.
            follower.position = max(follower.position, broadcaster.head)
            yield b": still here\nid: %d\n\n" % follower.position


class LiveResponse(StreamingResponse):
    """A response for bytes that come as they come; it lets go of a client that takes nothing for `stall` seconds.

    However it ends, or if it never begins, it leaves its `slot`.

    FastAPI's own EventSourceResponse encodes every event for every client; ours are encoded once for all of them.
    """

    media_type = "text/event-stream"

    def __init__(self, body: AsyncGenerator[bytes, None], *, stall: float, slot: Slot) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(body, headers=headers)
        self._stall = stall
        self._body = body
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A HEAD hears what a stream would begin with, and none begins."""
        try:
            if is_head(scope):
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": b""})
            else:
                await super().__call__(scope, receive, send)
        finally:
            self._slot.leave()

    async def stream_response(self, send: Send) -> None:
        """Send chunk by chunk, and close the reader's slot however it ends."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._body) as body:
            async for chunk in body:
                try:
                    async with asyncio.timeout(self._stall):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                except TimeoutError:
                    return  # unfinished: the server closes the connection
        await send({"type": "http.response.body", "body": b"", "more_body": False})
