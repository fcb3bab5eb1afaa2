"""One poller per process reads what is new and hands it, encoded once, to every reader that wants it."""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from fastapi.sse import format_sse_event

from services.portal.dashboard.domain import Within
from services.portal.dashboard.snapshot import Snapshots
from services.portal.stream import store
from services.portal.stream.domain import Entry, Wanted, admits
from services.portal.stream.wording import Translate, as_json
from shared.db import UNAVAILABLE, Pool, transaction

log = structlog.get_logger(__name__)

_READ_AT_ONCE = 500
_FIGURES_EVERY = 1.0
_RETRY_AFTER = 1.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes for the wire; whoever has them has everything wanted up to `position` (0: says nothing of positions)."""

    position: int
    body: bytes


@dataclass(eq=False, slots=True)
class Follower:
    """One attached reader and what it has not taken yet, never more than `limit` bytes.

    A reader too slow for its buffer is let go of (`overrun`); it reads on from the database and attaches again, so it
    costs bounded memory and loses nothing.
    """

    wanted: Wanted
    position: int
    limit: int
    overrun: bool = False
    _waiting: deque[Chunk] = field(default_factory=deque)
    _bytes: int = 0
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, chunk: Chunk) -> None:
        """Queue a chunk, or mark the reader overrun and forget what it had queued."""
        if self._bytes + len(chunk.body) > self.limit and self._waiting:
            self.overrun = True
            self._waiting.clear()
            self._bytes = 0
        elif not self.overrun:
            self._waiting.append(chunk)
            self._bytes += len(chunk.body)
        self._ready.set()

    def wake(self) -> None:
        """End the waiting of `take`, though nothing came."""
        self._ready.set()

    async def take(self, timeout: float) -> bytes | None:
        """Everything queued, or None when nothing came in time or the reader was overrun."""
        if not self._waiting and not self.overrun:
            self._ready.clear()
            with suppress(TimeoutError):  # something may have come all the same, just before this task runs again
                async with asyncio.timeout(timeout):
                    await self._ready.wait()
        if not self._waiting:
            return None
        self.position = max(self.position, *(chunk.position for chunk in self._waiting))
        body = b"".join(chunk.body for chunk in self._waiting)
        self._waiting.clear()
        self._bytes = 0
        return body


class Broadcaster:
    """Polls while anybody listens. `run` is started with the process; everything else happens on its event loop."""

    def __init__(
        self, pool: Pool, snapshots: Snapshots, text: Translate, *, poll_seconds: float, buffer_bytes: int
    ) -> None:
        self._pool = pool
        self._snapshots = snapshots
        self._text = text
        self._poll_seconds = poll_seconds
        self._buffer_bytes = buffer_bytes
        self._followers: set[Follower] = set()
        self._listening = asyncio.Event()
        self._figures_stale = False
        self._figures_not_before = 0.0
        self.head = 0
        self.readers = 0
        """Everybody connected, whether attached or still catching up."""
        self.closing = False

    def __len__(self) -> int:
        return len(self._followers)

    def attach(self, wanted: Wanted, position: int) -> Follower | None:
        """Hear of everything after `position`; None when the poller is already past it, so read on and try again."""
        if not self._followers:
            self.head = position
        if position < self.head:
            return None
        follower = Follower(wanted, position, self._buffer_bytes)
        self._followers.add(follower)
        self._figures_stale = True  # it may have read past the figures that it was greeted with
        self._listening.set()
        return follower

    def detach(self, follower: Follower) -> None:
        """Forget a reader."""
        self._followers.discard(follower)
        if not self._followers:
            self._listening.clear()

    def close(self) -> None:
        """Send everybody away: the process is about to end, and they are to find another one at once."""
        self.closing = True
        for follower in self._followers:
            follower.wake()

    def frame(self, entry: Entry) -> bytes:
        """An entry on the wire; its position is the event id that a reader resumes from."""
        body = json.dumps(as_json(entry, self._text), ensure_ascii=False, separators=(",", ":"))
        return format_sse_event(data_str=body, id=str(entry.position))

    async def run(self) -> None:
        """Poll for ever; a database that is away only delays what is new."""
        while True:
            await self._listening.wait()
            try:
                full = await self._poll()
                await self._send_figures()
            except UNAVAILABLE as error:
                log.warning("stream.poll_failed", error=repr(error))
                await asyncio.sleep(_RETRY_AFTER)
                continue
            await asyncio.sleep(0 if full else self._poll_seconds)

    async def _poll(self) -> bool:
        before = self.head
        async with transaction(self._pool) as conn:
            entries = (await store.read_after(conn, before, _READ_AT_ONCE, Wanted())).entries
        # Everybody may have left and somebody newer come while we read; their head then counts, not ours.
        if not entries or self.head != before:
            return False
        self.head = entries[-1].position
        self._deliver(entries)
        self._figures_stale = True
        return len(entries) == _READ_AT_ONCE

    def _deliver(self, entries: list[Entry]) -> None:
        frames = [(entry, self.frame(entry)) for entry in entries]
        shared: dict[Wanted, Chunk | None] = {}
        for follower in list(self._followers):
            if follower.position >= entries[0].position:  # just attached from further ahead
                chunk = _chunk(follower.wanted, [f for f in frames if f[0].position > follower.position])
            else:
                if follower.wanted not in shared:
                    shared[follower.wanted] = _chunk(follower.wanted, frames)
                chunk = shared[follower.wanted]
            if chunk is not None:
                self._offer(follower, chunk)

    async def _send_figures(self) -> None:
        """New figures for every part that somebody looks at, once a second at most, and once after the last event."""
        now = asyncio.get_running_loop().time()
        if not self._figures_stale or now < self._figures_not_before:
            return
        self._figures_stale = False
        self._figures_not_before = now + _FIGURES_EVERY
        looking: dict[Within, list[Follower]] = defaultdict(list)
        for follower in self._followers:
            looking[follower.wanted.within].append(follower)
        for within, followers in looking.items():
            snapshot = await self._snapshots.fresh(within)
            chunk = Chunk(0, format_sse_event(event="figures", data_str=snapshot.json))
            for follower in followers:
                self._offer(follower, chunk)

    def _offer(self, follower: Follower, chunk: Chunk) -> None:
        follower.offer(chunk)
        if follower.overrun:
            self.detach(follower)


def _chunk(wanted: Wanted, frames: Iterable[tuple[Entry, bytes]]) -> Chunk | None:
    admitted = [(entry.position, body) for entry, body in frames if admits(wanted, entry)]
    return Chunk(admitted[-1][0], b"".join(body for _, body in admitted)) if admitted else None
