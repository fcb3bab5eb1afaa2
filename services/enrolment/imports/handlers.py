"""Imports run in the worker: a durable timer starts each one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from opentelemetry import context as otel

from services.enrolment.imports import report
from services.enrolment.imports.actions import FORGET_FILES, IMPORT
from services.enrolment.imports.importing import TIME_LIMIT, Options, Run, apply
from services.enrolment.imports.store import kept_files, ledger, turns
from services.enrolment.imports.watch import ImportCancelledError, ImportTooSlowError, Watch
from services.enrolment.settings import EnrolmentSettings
from shared import timers as timer_rows
from shared.observability.telemetry import tracer
from shared.postgres.failures import UNAVAILABLE, is_outage
from shared.postgres.pool import Connection, Pool
from shared.runtime.declaration import NeedsSettings
from shared.runtime.memory import release_free_memory
from shared.timers import Due, OneAtATime, TimerHandler

MOST_ATTEMPTS = 3
_LIGHT = 4 * 1024 * 1024  # bytes of a file that may be worked on beside another one
_AGAIN = timedelta(seconds=0.5)  # until one that has to wait asks again for its turn
_UNTIL_IT_ENDS = timedelta(minutes=1)  # before a file whose time is over is looked for again
_LOOK_SECONDS = 0.5

log = structlog.get_logger(__name__)


def timers() -> dict[str, TimerHandler]:
    """The worker's part of this capability."""
    return {
        IMPORT: NeedsSettings[EnrolmentSettings](
            lambda settings, pool: run_imports(pool, time_limit=settings.import_time_limit)
        ),
        FORGET_FILES: forget_files,
    }


async def forget_files(conn: Connection, due: Sequence[Due], now: datetime) -> None:
    """Forget files that were kept for an import that never followed."""
    if await kept_files.forget_until(conn, now):
        await _come_again(conn, due[0], now + _UNTIL_IT_ENDS)


def run_imports(pool: Pool, *, time_limit: timedelta = TIME_LIMIT) -> OneAtATime:
    """`pool` is for what is told outside the import's transaction."""
    return OneAtATime(_Importer(pool, time_limit).run, at_once=2)


class _Importer:
    """One process's imports. A light one that was never tried may run beside another; all others run alone here,
    since memory is the process's, and what ends the process ends whatever runs beside it.
    """

    def __init__(self, pool: Pool, time_limit: timedelta) -> None:
        self._pool = pool
        self._time_limit = time_limit
        self._heavy = asyncio.Lock()
        self._uncounted: set[UUID] = set()  # whose last attempt ended with the database

    async def run(self, conn: Connection, due: Due, now: datetime) -> None:
        """As a timer's handler: work on the import when it is its turn, else have the timer come again."""
        import_id = UUID(due.key)
        turn = await turns.find_turn(conn, import_id)
        if turn is None:
            return  # it has ended: a timer that comes twice changes nothing
        is_heavy = turn.attempts > 0 or turn.size > _LIGHT
        may_begin = not (turn.has_older or turn.has_fresher) and await turns.take_source(conn, turn.source)
        if not may_begin or (is_heavy and self._heavy.locked()):
            await _come_again(conn, due, now + _AGAIN)
            return
        async with self._heavy if is_heavy else contextlib.nullcontext():
            with tracer().start_as_current_span(IMPORT, context=due.context):
                await self._attempt(conn, import_id, turn.source, now)
            if is_heavy:
                release_free_memory()  # a large file and its lines

    async def _attempt(self, conn: Connection, import_id: UUID, source: str, now: datetime) -> None:
        attempt = await turns.begin(self._pool, import_id, now, counted=import_id not in self._uncounted)
        self._uncounted.discard(import_id)
        found = await ledger.find_import(conn, import_id)
        if attempt is None or found is None:
            return
        run = Run(self._pool, conn, import_id, Options(**found.options), now, watch=Watch(self._time_limit))
        if attempt.cancelled_by is not None:  # by somebody whom the process that worked on it heard no more
            status = "cancelled"
        elif attempt.number > MOST_ATTEMPTS:
            status = "failed"
            run.report.failure = report.interrupted(attempt.last_phase, MOST_ATTEMPTS)
        else:
            log.info("import started", import_id=str(import_id), source=source, attempt=attempt.number)
            status = await self._work(run, attempt.number)
        log.info("import ended", import_id=str(import_id), source=source, status=status)
        told = run.report.model_dump(mode="json")
        await ledger.end_import(conn, import_id, status, counts=run.counts, report=told, now=now)

    async def _work(self, run: Run, attempt: int) -> str:
        """How it ended. What is not its fault is raised: the timer comes again, later."""
        try:
            async with run.conn.transaction(), _watched(run):  # a savepoint: what fails leaves nothing but its report
                status = await apply(run)
                if not await ledger.may_end_well(run.conn, run.id):
                    raise ImportCancelledError
                return status
        except ImportCancelledError:
            return "cancelled"
        except ImportTooSlowError:
            run.report.failure = report.too_slow(self._time_limit)
        except asyncio.CancelledError:
            with contextlib.suppress(*UNAVAILABLE):
                await turns.give_back(self._pool, run.id)
            raise
        except Exception as error:
            if await is_outage(self._pool, error):
                self._uncounted.add(run.id)
                raise
            if attempt < MOST_ATTEMPTS:
                raise
            log.exception("import failed", import_id=str(run.id))
            run.report.failure = report.fault_of_ours()
        return "failed"


async def _come_again(conn: Connection, due: Due, at: datetime) -> None:
    token = otel.attach(due.context)  # the timer keeps the trace of whoever sent the file
    try:
        await timer_rows.schedule(conn, due.kind, due.key, at)
    finally:
        otel.detach(token)


@contextlib.asynccontextmanager
async def _watched(run: Run) -> AsyncIterator[None]:
    """Have the import hear of a wish to end it, also while a thread works; and end that thread with it."""

    async def listen() -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with contextlib.suppress(*UNAVAILABLE):
                if await turns.is_asked_to_end(run.pool, run.id):
                    run.watch.is_cancelled = True

    listening = asyncio.create_task(listen())
    try:
        yield
    except BaseException:
        run.watch.is_cancelled = True  # a thread cannot be cancelled, but it looks
        raise
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
