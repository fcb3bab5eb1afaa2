"""One poller per process reads what is new and hands it, encoded once, to every reader that wants it."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID
from weakref import ReferenceType, WeakKeyDictionary, ref

import structlog
from fastapi.sse import format_sse_event

from services.portal.dashboard.domain import Within
from services.portal.dashboard.snapshot import Snapshots
from services.portal.stream import store
from services.portal.stream.domain import StreamEntry, StreamFilter, matches
from services.portal.stream.follower import Chunk, Follower
from services.portal.stream.wording import Translate, as_json
from shared.postgres.failures import UNAVAILABLE
from shared.postgres.pool import Pool
from shared.postgres.transaction import transaction

log = structlog.get_logger(__name__)

_READ_AT_ONCE = 500
_FRAMES = 10  # of a kilobyte or three
_FIGURES_EVERY = 1.0
_RETRY_AFTER = 1.0


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
        self._wanted: WeakKeyDictionary[StreamFilter, ReferenceType[StreamFilter]] = WeakKeyDictionary()
        self._units: WeakKeyDictionary[frozenset[UUID], ReferenceType[frozenset[UUID]]] = WeakKeyDictionary()
        self._listening = asyncio.Event()
        self._figures_stale = asyncio.Event()
        self.head = 0
        self.closing = False

    def __len__(self) -> int:
        return len(self._followers)

    def shared(self, wanted: StreamFilter) -> StreamFilter:
        """The same filter as somebody else has it, if somebody does, or the same units, of all programmes and types.

        A unit's are the ids of all below it, hundreds of kilobytes near the top of a large organisation.
        """
        units = wanted.within.units
        if units is not None:
            same = self._units.setdefault(units, ref(units))() or units
            wanted = replace(wanted, within=replace(wanted.within, units=same))
        known = self._wanted.setdefault(wanted, ref(wanted))()
        return wanted if known is None else known

    def attach(self, wanted: StreamFilter, position: int) -> Follower | None:
        """Hear of everything after `position`; None when the poller is already past it, so read on and try again."""
        if not self._followers:
            self.head = position
        if position < self.head:
            return None
        follower = Follower(wanted, position, self._buffer_bytes)
        self._followers.add(follower)
        self._figures_stale.set()  # it may have read past the figures that it was greeted with
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

    def frame(self, entry: StreamEntry) -> bytes:
        """An entry on the wire; its position is the event id that a reader resumes from."""
        body = json.dumps(as_json(entry, self._text), ensure_ascii=False, separators=(",", ":"))
        return format_sse_event(data_str=body, id=str(entry.position))

    async def run(self) -> None:
        """Poll and count for ever; a database that is away, or a statement that fails, only delays what is new."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._poll_on())
            both.create_task(self._count_on())

    async def _poll_on(self) -> None:
        while True:
            await self._listening.wait()
            try:
                full = await self._poll()
            except UNAVAILABLE as error:
                log.warning("stream.poll_failed", error=repr(error))
                await asyncio.sleep(_RETRY_AFTER)
                continue
            except Exception:
                log.exception("stream.poll_failed")
                await asyncio.sleep(_RETRY_AFTER)
                continue
            await asyncio.sleep(0 if full else self._poll_seconds)

    async def _count_on(self) -> None:
        """New figures for every part that somebody looks at, once a second at most, and once after the last event.

        Beside the polling, since readers choose the parts: however many, events do not wait for their figures. Where a
        round takes longer than a second, the database rests for as long before the next.
        """
        loop = asyncio.get_running_loop()
        while True:
            await self._figures_stale.wait()
            self._figures_stale.clear()
            began = loop.time()
            try:
                await self._send_figures()
            except UNAVAILABLE as error:
                log.warning("stream.count_failed", error=repr(error))
                self._figures_stale.set()
            except Exception:
                log.exception("stream.count_failed")
                self._figures_stale.set()
            await asyncio.sleep(max(_FIGURES_EVERY, loop.time() - began))

    async def _poll(self) -> bool:
        before = self.head
        async with transaction(self._pool) as conn:
            entries = (await store.read_after(conn, before, _READ_AT_ONCE, StreamFilter())).entries
        if not entries:
            return False
        frames = [(entry, self.frame(entry)) for entry in entries]
        filtered: dict[StreamFilter, list[Chunk]] = {}
        for wanted in {follower.wanted for follower in self._followers}:
            filtered[wanted] = _chunks(wanted, frames)
            await asyncio.sleep(0)  # readers choose their filters: however many, nobody waits for all of them
        # Everybody may have left and somebody newer come meanwhile; their head then counts, not ours.
        if self.head != before:
            return False
        self._deliver(frames, filtered)
        self._figures_stale.set()
        return len(entries) == _READ_AT_ONCE

    def _deliver(
        self, frames: Sequence[tuple[StreamEntry, bytes]], filtered: Mapping[StreamFilter, list[Chunk]]
    ) -> None:
        """At one stroke, with the head: who attaches stands before all of it or past all of it."""
        first, self.head = frames[0][0].position, frames[-1][0].position
        for follower in list(self._followers):
            if follower.position < first and follower.wanted in filtered:
                chunks = filtered[follower.wanted]
            else:  # attached since we read, perhaps from further ahead
                chunks = _chunks(follower.wanted, [each for each in frames if each[0].position > follower.position])
            if chunks:
                self._offer(follower, chunks)

    async def _send_figures(self) -> None:
        looking: dict[Within, list[Follower]] = defaultdict(list)
        for follower in self._followers:
            looking[follower.wanted.within].append(follower)
        for within, followers in looking.items():
            snapshot = await self._snapshots.fresh(within)
            chunk = Chunk.of(0, format_sse_event(event="figures", data_str=snapshot.json))
            for follower in followers:
                self._offer(follower, [chunk])

    def _offer(self, follower: Follower, chunks: Sequence[Chunk]) -> None:
        follower.offer(chunks)
        if follower.overrun:
            self.detach(follower)


def _chunks(wanted: StreamFilter, frames: Sequence[tuple[StreamEntry, bytes]]) -> list[Chunk]:
    """What a filter lets through, in pieces of a few frames."""
    admitted = [(entry.position, body) for entry, body in frames if matches(wanted, entry)]
    pieces = (admitted[start : start + _FRAMES] for start in range(0, len(admitted), _FRAMES))
    return [Chunk.of(piece[-1][0], *(body for _, body in piece)) for piece in pieces]
