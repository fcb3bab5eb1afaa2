"""A worker process: a service's consumer, relay, timers and whatever else it does without being asked."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shared.clock import Clock
from shared.http.health import readiness
from shared.messaging import inbox, outbox
from shared.messaging.catch_up import CatchUp
from shared.messaging.consumer import Consumer
from shared.messaging.handler import Handler
from shared.messaging.relay import Relay
from shared.messaging.retries import Retries
from shared.messaging.subscription import Subscription
from shared.postgres.failures import UNAVAILABLE
from shared.postgres.migrate import pending_migrations
from shared.postgres.pool import Pool
from shared.runtime.metrics import Gauges
from shared.security import audit
from shared.service import Service
from shared.settings import Settings
from shared.timers import TimerHandler, Timers

log = structlog.get_logger(__name__)

Loop = Callable[[], Awaitable[None]]
TICK_SECONDS = 0.25
PRUNE_SECONDS = 3600.0
MIGRATION_POLL_SECONDS = 1.0
OUTBOX_TOO_OLD_SECONDS = 120.0


class Worker:
    """One worker of a service; more of them share the work. `run` ends when it is cancelled."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        *,
        service: Service,
        handlers: Sequence[Handler],
        timers: Mapping[str, TimerHandler],
        loops: Sequence[Loop] = (),
    ) -> None:
        self.clock = Clock(settings.clock_file)
        self.relay = Relay(settings, service=service.name)
        self.consumer = Consumer(
            pool, self.clock, service=service.name, handlers=handlers,
            park_timeout=timedelta(hours=settings.park_timeout_hours), batch_size=settings.batch_size,
            migrations=service.migrations,
        )  # fmt: skip
        self.subscription = Subscription(settings, pool, self.consumer)
        self.catch_up = CatchUp(settings, pool, self.clock, self.consumer)
        self._timers = Timers(pool, self.clock, timers)
        self._due = {kind: asyncio.Event() for kind in self._timers.kinds}
        self._settings = settings
        self._pool = pool
        self._service = service
        self._loops = loops

    @property
    def timer_kinds(self) -> Sequence[str]:
        """The kinds of timers this worker runs."""
        return self._timers.kinds

    async def run(self) -> None:
        """Do all of it at once. A part that ends or fails ends the process: whoever started it starts it again."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_endless(self._serve_health))
            await self._until_migrated()
            for part in (
                self.relay.run,
                self.subscription.run,
                self.catch_up.run,
                self._each(TICK_SECONDS, self._look_for_timers),
                *[
                    self._each(0, partial(self._run_timers, kind))
                    for kind in self._timers.kinds
                    for _ in range(self._timers.at_once(kind))
                ],
                self._each(TICK_SECONDS, Retries(self._pool, self.clock, self.consumer).tick),
                self._each(PRUNE_SECONDS, self._prune),
                Gauges(self._pool, self.relay, self.consumer, self.subscription, self.catch_up).run,
                *self._loops,
            ):
                group.create_task(_endless(part))

    async def _look_for_timers(self) -> None:
        """One look for all kinds: nearly always none is due, and each would begin a transaction to find that out."""
        for kind in await self._timers.due():
            self._due[kind].set()

    async def _run_timers(self, kind: str) -> None:
        await self._due[kind].wait()
        self._due[kind].clear()
        await self._timers.tick(kind)

    async def _until_migrated(self) -> None:
        """On an older schema handlers would fail record by record, and each would become a dead letter."""
        while True:
            try:
                async with self._pool.acquire() as conn:
                    pending = await pending_migrations(conn, self._service)
            except UNAVAILABLE as error:
                log.warning("database unavailable", error=type(error).__name__)
            else:
                if not pending:
                    return
                log.warning("waiting for migrations", pending=pending)
            await asyncio.sleep(MIGRATION_POLL_SECONDS)

    def _each(self, seconds: float, work: Callable[[], Awaitable[Any]]) -> Loop:
        async def again_and_again() -> None:
            while True:
                try:
                    await work()
                except UNAVAILABLE as error:
                    log.warning("database unavailable", error=type(error).__name__)
                    await asyncio.sleep(1)
                await asyncio.sleep(seconds)

        return again_and_again

    async def _prune(self) -> None:
        # The machine's time: what is kept here is for brokers and backups, which do not follow a shifted clock.
        now = datetime.now(UTC)
        await outbox.prune(self._pool, now - timedelta(days=self._settings.outbox_retention_days))
        await inbox.forget_before(self._pool, now - timedelta(days=self._settings.inbox_retention_days))
        if (kept := self._settings.audit_retention_days) is not None:
            await audit.forget(self._pool, "medled:retention", before=now - timedelta(days=kept), now=now)

    async def _serve_health(self) -> None:
        app = Starlette(routes=[Route("/health/live", _live), Route("/health/ready", self._ready)])
        config = uvicorn.Config(
            app, host=self._settings.host, port=self._settings.port, log_config=None, access_log=False, lifespan="off"
        )
        server = _QuietServer(config)
        try:
            await server.serve()
        finally:
            for listener in getattr(server, "servers", []):  # uvicorn leaves them open when it is cancelled
                listener.close()

    async def _ready(self, _: Request) -> JSONResponse:
        report = await readiness(self._pool, self._settings, self._service)
        backlog = report["database"]["outbox"] or {}
        report["consumer"] = {
            "subscribed": self.subscription.ready,
            "lag": await self.subscription.lag_or_none(),
            "topics": len(self.consumer.topics),
        }
        report["consumer"]["catching_up"] = await self.catch_up.lags_or_none()
        report["relay"] = {"leading": self.relay.leading, "published": self.relay.published}
        at_work = self.subscription.ready or not self.consumer.topics
        if not (report["broker"]["reachable"] and at_work):
            report["status"] = "not_ready"
        if backlog.get("oldest_seconds", 0) > OUTBOX_TOO_OLD_SECONDS:
            report["status"] = "not_ready"
        return JSONResponse(report, 200 if report["status"] == "ready" else 503)


class _QuietServer(uvicorn.Server):
    """Leaves signals to the worker, which ends everything in order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _endless(part: Loop) -> None:
    await part()
    raise RuntimeError(f"{getattr(part, '__qualname__', part)} ended, which it never should")


async def _live(_: Request) -> JSONResponse:
    return JSONResponse({"status": "alive"})
