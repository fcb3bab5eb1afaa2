"""Who listens must still be let in: everybody connected is looked at again every few seconds, all in one go."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog

from shared.postgres.failures import UNAVAILABLE
from shared.postgres.pool import Pool
from shared.security.credentials import Credential, Resolution, resolve_credentials
from shared.security.principal import Principal

log = structlog.get_logger(__name__)

_CHECK_SECONDS = 2.0


@dataclass(eq=False, slots=True)
class WatchedStream:
    """One open stream, and on whose word it was opened. `wake`: ends a wait of whoever reads."""

    credential: Credential
    who: Principal
    wake: Callable[[], None] | None = None
    _over: bool = False

    def has_ended(self) -> bool:
        """Whether that word counts no longer."""
        return self._over

    def end(self) -> None:
        """Let nothing more be heard."""
        self._over = True
        if self.wake is not None:
            self.wake()


class AccessWatch:
    """Ends the visits of whoever signed out, lost their token or their role for what they listen to, or has left."""

    def __init__(self, pool: Pool, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._now = now
        self._visits: set[WatchedStream] = set()
        self._anybody = asyncio.Event()

    @contextmanager
    def watching(self, credential: Credential, who: Principal) -> Iterator[WatchedStream]:
        """Be looked at while the stream is open."""
        visit = WatchedStream(credential, who)
        self._visits.add(visit)
        self._anybody.set()
        try:
            yield visit
        finally:
            self._visits.discard(visit)
            if not self._visits:
                self._anybody.clear()

    async def run(self) -> None:
        """Look for ever; a database that is away ends nobody's visit, and no fault of one look is the last."""
        while True:
            await self._anybody.wait()
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                await self._look()
            except UNAVAILABLE as error:
                log.warning("stream.look_failed", error=repr(error))
            except Exception:
                log.exception("stream.look_failed")

    async def _look(self) -> None:
        visits = list(self._visits)
        held = await resolve_credentials(self._pool, {visit.credential for visit in visits}, self._now())
        for visit in visits:
            if not _may_go_on(visit.who, held[visit.credential]):
                visit.end()


def _may_go_on(before: Principal, now: Resolution) -> bool:
    """Whether somebody may go on. A machine's roles say what it hears: with others it has to come again."""
    if not isinstance(now, Principal) or now.id != before.id:
        return False
    return before.kind == "person" or now.roles == before.roles
