"""What one reader has not taken yet: bounded, and shared with everybody else who has not."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from services.portal.stream.domain import StreamFilter

_SENT_AT_ONCE = 65_536  # bytes that are one reader's alone, until its connection has taken them


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames for the wire; whoever has them has everything wanted up to `position` (0: says nothing of positions).

    They are joined only when they are sent: readers with different filters, however far behind, share the same frames.
    """

    position: int
    frames: tuple[bytes, ...]
    size: int

    @classmethod
    def of(cls, position: int, *frames: bytes) -> "Chunk":
        """These frames."""
        return cls(position, frames, sum(map(len, frames)))


@dataclass(eq=False, slots=True)
class Follower:
    """One attached reader and what it has not taken yet, never more than `limit` bytes.

    A reader too slow for its buffer is let go of (`overrun`); it reads on from the database and attaches again, so it
    costs bounded memory and loses nothing.
    """

    wanted: StreamFilter
    position: int
    limit: int
    overrun: bool = False
    _waiting: deque[Chunk] = field(default_factory=deque)
    _bytes: int = 0
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, chunks: Sequence[Chunk]) -> None:
        """Queue what came at one time, or mark the reader overrun and forget what it had queued."""
        size = sum(chunk.size for chunk in chunks)
        if self._bytes + size > self.limit and self._waiting:
            self.overrun = True
            self._waiting.clear()
            self._bytes = 0
        elif not self.overrun:
            self._waiting.extend(chunks)
            self._bytes += size
        self._ready.set()

    def wake(self) -> None:
        """End the waiting of `take`, though nothing came."""
        self._ready.set()

    async def take(self, timeout: float) -> bytes | None:
        """What is queued, a bounded part of it, or None when nothing came in time or the reader was overrun."""
        if not self._waiting and not self.overrun:
            self._ready.clear()
            with suppress(TimeoutError):  # something may have come all the same, just before this task runs again
                async with asyncio.timeout(timeout):
                    await self._ready.wait()
        taken, size = list[Chunk](), 0
        while self._waiting and (not taken or size + self._waiting[0].size <= _SENT_AT_ONCE):
            taken.append(self._waiting.popleft())
            size += taken[-1].size
        if not taken:
            return None
        self._bytes -= size
        self.position = max(self.position, *(chunk.position for chunk in taken))
        return b"".join(frame for chunk in taken for frame in chunk.frames)
