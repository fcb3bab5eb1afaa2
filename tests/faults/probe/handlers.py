"""What the probe does with events: leaves one row for each, and tells of it."""

import asyncio
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

from shared.events import EnrolmentRequested, NotificationSent, UnitState
from shared.ids import new_id
from shared.messaging import outbox
from shared.messaging.handler import Handler, Received
from shared.postgres.pool import Connection

UNLUCKY = UUID(int=13)
"""A cohort whose enrolments fail in the handler, however often they are tried."""

LATER = "probe.later"
"""Also the value of PROBE_HANDLERS with which a worker has that handler."""

PAUSE_FILE = "PROBE_PAUSE_FILE"
"""Environment: a batch that has done its work creates this file and waits, uncommitted, until the file is gone."""


async def count(conn: Connection, events: Sequence[Received[EnrolmentRequested]], now: datetime) -> None:
    """One effect and one event for each."""
    for event in events:
        if event.data.cohort_id == UNLUCKY:
            raise ValueError("an unlucky cohort")
    await conn.execute(
        "insert into effects select * from unnest($1::uuid[], $2::text[], $3::bigint[])",
        [event.id for event in events], [event.subject for event in events], [event.sequence for event in events],
    )  # fmt: skip
    await outbox.add_caused(
        conn,
        [
            (NotificationSent(notification_id=new_id(), kind="enrolment.requested", channel="mail", attempt=1), event)
            for event in events
        ],
        now=now,
    )
    await _pause_when_told()


async def remember(conn: Connection, events: Sequence[Received[UnitState]], now: datetime) -> None:
    """Upsert by key, trusting that only newer states come: what `latest_state` promises."""
    await conn.execute(
        """
        insert into units_seen select * from unnest($1::uuid[], $2::text[], $3::bigint[])
        on conflict (id) do update set name = excluded.name, sequence = excluded.sequence
        """,
        [event.data.unit_id for event in events], [event.data.name for event in events],
        [event.sequence for event in events],
    )  # fmt: skip


async def count_later(conn: Connection, events: Sequence[Received[EnrolmentRequested]], now: datetime) -> None:
    """One row for each, and a batch that follows a committed one pauses when told."""
    before = await conn.fetchval("select count(*) from later")
    await conn.execute("insert into later select * from unnest($1::uuid[])", [event.id for event in events])
    if before:
        await _pause_when_told()


def handlers(*, later: bool = False) -> list[Handler]:
    """What every version of the probe has, and what one that came later has besides."""
    return [
        Handler("probe.count", (EnrolmentRequested,), count, "every_fact", effect="effects.caused_by"),
        Handler("probe.remember", (UnitState,), remember, "latest_state"),
        *(
            [Handler(LATER, (EnrolmentRequested,), count_later, "every_fact", effect="later.caused_by")]
            if later
            else []
        ),
    ]


async def _pause_when_told() -> None:
    name = os.environ.get(PAUSE_FILE)
    if name and not Path(name).exists():
        Path(name).touch()
        while Path(name).exists():
            await asyncio.sleep(0.05)
