"""Imports run in the worker: a durable timer starts each one."""

from datetime import datetime
from uuid import UUID

import structlog

from services.enrolment.imports.importing import Options, Run, apply
from services.enrolment.imports.store import ledger
from shared.db import Connection, Pool, is_outage
from shared.telemetry import tracer
from shared.timers import Due, Singly, TimerHandler

IMPORT = "people.import"  # the timer's kind; its key is the import's id
_ATTEMPTS = 3

log = structlog.get_logger(__name__)


def timers(pool: Pool) -> dict[str, TimerHandler]:
    """The worker's part of this capability; `pool` is for progress, told outside the import's transaction."""

    async def import_people(conn: Connection, due: Due, now: datetime) -> None:
        with tracer().start_as_current_span(IMPORT, context=due.context):
            await _run(pool, conn, due, now)

    return {IMPORT: Singly(import_people)}


async def _run(pool: Pool, conn: Connection, due: Due, now: datetime) -> None:
    import_id = UUID(due.key)
    found = await ledger.find_import(conn, import_id)
    content = await ledger.import_content(conn, import_id)
    if found is None or content is None:
        return  # it has ended: a timer that comes twice changes nothing
    run = Run(pool, conn, import_id, Options(**found.options), now)
    try:
        async with conn.transaction():  # a savepoint: what fails leaves nothing but its report
            status = await apply(run, content)
    except Exception as error:
        if await is_outage(pool, error) or due.attempts + 1 < _ATTEMPTS:
            raise  # the timer comes again, later
        log.exception("import failed", import_id=str(import_id))
        status = "failed"
        run.report.notes.append("The import failed for a reason of ours, which the log tells. Nothing was applied.")
    report = run.report.model_dump(mode="json")
    await ledger.end_import(conn, import_id, status, counts=run.counts, report=report, now=now)
