"""Figures as of one stream position, counted once for all who ask within a second."""

import asyncio
from dataclasses import dataclass

from pydantic import TypeAdapter

from services.portal.dashboard import store
from services.portal.dashboard.domain import Figures, Within, figures
from shared.db import Pool, transaction

_FIGURES = TypeAdapter(Figures)
_FRESH_SECONDS = 1.0
_MOST_KEPT = 256


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Figures, their JSON, and the loop time they were counted at."""

    figures: Figures
    json: str
    counted_at: float


class Snapshots:
    """Counts figures; a thousand readers who connect at once share one count."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._kept: dict[Within, Snapshot] = {}
        self._counting = asyncio.Lock()

    async def recent(self, within: Within) -> Snapshot:
        """Figures at most a second old."""
        async with self._counting:
            kept = self._kept.get(within)
            if kept is not None and asyncio.get_running_loop().time() - kept.counted_at < _FRESH_SECONDS:
                return kept
            return await self._count(within)

    async def fresh(self, within: Within) -> Snapshot:
        """Figures of now."""
        async with self._counting:
            return await self._count(within)

    async def _count(self, within: Within) -> Snapshot:
        counted_at = asyncio.get_running_loop().time()
        async with transaction(self._pool) as conn:
            result = figures(await store.count(conn, within))
        snapshot = Snapshot(result, _FIGURES.dump_json(result).decode(), counted_at)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[within] = snapshot
        return snapshot
