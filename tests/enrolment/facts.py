"""What reaches the enrolment service from Kafka and from its timers, without either."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from opentelemetry.context import Context

from services.enrolment.enrolments import handlers as enrolments
from shared import inbox
from shared.db import transaction
from shared.events import PersonDeactivated
from shared.ids import new_id
from shared.inbox import Received
from shared.timers import Timers
from tests.enrolment.world import World

[HANDLER] = enrolments.handlers()


async def run_timers(world: World) -> int:
    """Run what is due by the world's clock; how many timers that were."""
    return await Timers(world.pool, world.app.state.clock, enrolments.timers()).tick()


def left(person_id: UUID, unit_id: UUID, at: datetime, sequence: int = 2) -> Received[Any]:
    """The fact that a person left, as it comes from Kafka."""
    event = PersonDeactivated(person_id=person_id, unit_id=unit_id)
    return Received(
        id=new_id(),
        type=event.type,
        source="/medled/enrolment",
        subject=event.subject,
        time=at,
        sequence=sequence,
        unit=unit_id,
        programme=None,
        correlation_id="correlation",
        causation_id=None,
        data=event,
        topic=event.topic,
        partition=0,
        offset=0,
        key=event.key,
        context=Context(),
    )


async def handle(world: World, *events: Received[Any]) -> None:
    """One batch, as the consumer does it: only what the inbox has not seen reaches the handler."""
    async with transaction(world.pool) as conn:
        fresh: Sequence[Received[Any]] = await inbox.admit(conn, HANDLER, events)
        if fresh:
            await HANDLER.apply(conn, fresh, world.now)
