"""Every public event takes its place in the stream; the stream's window moves on by a timer."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from opentelemetry import trace

from services.portal.settings import PortalSettings
from services.portal.stream import store
from services.portal.stream.domain import PUBLIC
from shared.messaging.handler import Handler, Received
from shared.postgres.pool import Connection
from shared.runtime.declaration import NeedsSettings
from shared.timers import Due, TimerHandler, schedule

PRUNE = "portal.stream.prune"  # the migration schedules it the first time
_PRUNE_BATCH = 20_000
_EVERY = timedelta(minutes=10)


async def append_entries(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
    # A tombstone has no data to show: that a unit is gone is the unit directory's matter.
    entries = [_entry(event) for event in events if event.data is not None]
    if entries:
        await store.append(conn, entries, now)


def _entry(event: Received[Any]) -> store.NewEntry:
    trace_id = trace.get_current_span(event.context).get_span_context().trace_id
    return store.NewEntry(
        caused_by=event.id, type=event.type, source=event.source, subject=event.subject, time=event.time,
        sequence=event.sequence, unit=event.unit, programme=event.programme, correlation_id=event.correlation_id,
        trace_id=trace.format_trace_id(trace_id), data=event.data.encode().decode(),
    )  # fmt: skip


def handlers() -> list[Handler]:
    return [Handler("portal.stream.entries", PUBLIC, append_entries, "every_fact", effect="stream.caused_by")]


def timers() -> dict[str, TimerHandler]:
    return {PRUNE: NeedsSettings[PortalSettings](lambda settings, _: partial(prune, settings.stream_keep))}


async def prune(keep: timedelta, conn: Connection, _due: Sequence[Due], now: datetime) -> None:
    """Forget what has been in the stream for as long as `keep`."""
    gone = await store.prune(conn, now - keep, _PRUNE_BATCH)
    await schedule(conn, PRUNE, "stream", now if gone == _PRUNE_BATCH else now + _EVERY)
