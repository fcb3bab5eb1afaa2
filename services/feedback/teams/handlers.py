"""People move, leave and join: since when is kept."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.feedback.teams import store
from services.feedback.teams.domain import Placement, ReportedPlacement, address_digest, placement_changes
from shared.events import PersonState
from shared.messaging.handler import Received
from shared.postgres.pool import Connection


async def follow_people(
    conn: Connection, events: Sequence[Received[Any]], now: datetime, *, known_for: timedelta
) -> None:
    """Keep since when each person stands where they stand, and forget how they stood long ago."""
    told = [ReportedPlacement(UUID(event.subject), _standing(event.data), event.time) for event in events]
    states = [one.at for one in told if one.standing is not None]
    if states:
        await store.note_founding(conn, min(states))
    held = await store.in_force(conn, [one.person_id for one in told])
    ended, begun = placement_changes(told, held, now=now)
    if ended:
        await store.end(conn, ended)
    if begun:
        await store.begin(conn, begun)
    await store.forget(conn, now - 2 * known_for)


def _standing(state: PersonState | None) -> Placement | None:
    if state is None:
        return None
    address = address_digest(state.email) if state.email else None
    return Placement(state.person_id, state.manager_id, state.unit_id, state.status, address, None)
