"""Figures as of one stream position, counted once for all who ask within a second."""

import asyncio
from dataclasses import dataclass

from pydantic import TypeAdapter

from services.portal.dashboard import store
from services.portal.dashboard.domain import Figures, Within, figures
from shared.postgres.pool import Pool
from shared.postgres.transaction import transaction

_FIGURES = TypeAdapter(Figures)
_FRESH_SECONDS = 1.0
_MOST_KEPT = 256
_COUNTED_AT_ONCE = 2  # one by who keeps the figures of open streams current, one for who just came


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Figures, their JSON, and the loop time they were counted at."""

    figures: Figures
    json: str
    counted_at: float


class Snapshots:
    """Counts figures; a thousand readers who connect at once share one count.

    Whatever parts of the organisation are asked for, no more than a few are counted at a time.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._kept: dict[Within, Snapshot] = {}
        self._counting: dict[Within, asyncio.Task[Snapshot]] = {}
        self._few = asyncio.Semaphore(_COUNTED_AT_ONCE)

    async def recent(self, within: Within) -> Snapshot:
        """Figures at most a second old."""
        kept = self._kept.get(within)
        if kept is not None and asyncio.get_running_loop().time() - kept.counted_at < _FRESH_SECONDS:
            return kept
        task = self._counting.get(within)
        if task is None:
            task = self._counting[within] = asyncio.create_task(self.fresh(within))
            task.add_done_callback(lambda _: self._counting.pop(within, None))
        return await asyncio.shield(task)  # one who leaves takes it from nobody

    async def fresh(self, within: Within) -> Snapshot:
        """Figures of now."""
        async with self._few:
            counted_at = asyncio.get_running_loop().time()
            async with transaction(self._pool) as conn:
                result = figures(await store.count(conn, within), within)
        snapshot = Snapshot(result, _FIGURES.dump_json(result).decode(), counted_at)
        for part in [part for part, kept in self._kept.items() if counted_at - kept.counted_at >= _FRESH_SECONDS]:
            del self._kept[part]  # nobody is given them any more, and each has the ids of all its units
        self._kept.pop(within, None)
        if len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]  # the oldest
        self._kept[within] = snapshot
        return snapshot
