"""What reaches the enrolment service from Kafka and from its timers, without either."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from opentelemetry.context import Context

from services.enrolment.enrolments import handlers as enrolments
from shared.events import Event, PersonDeactivated, PersonManagerChanged
from shared.ids import new_id
from shared.messaging import inbox
from shared.messaging.handler import Received
from shared.postgres.transaction import transaction
from shared.timers import Timers
from tests.enrolment.world import World

HANDLERS = enrolments.handlers()


async def run_timers(world: World) -> int:
    """Run what is due by the world's clock; how many timers that were."""
    return await Timers(world.pool, world.app.state.clock, enrolments.timers()).tick()


def left(person_id: UUID, unit_id: UUID, at: datetime, sequence: int = 2) -> Received[Any]:
    """The fact that a person left, as it comes from Kafka."""
    return _received(PersonDeactivated(person_id=person_id, unit_id=unit_id), unit_id, at, sequence)


def got_manager(person_id: UUID, unit_id: UUID, manager_id: UUID | None, at: datetime) -> Received[Any]:
    """The fact that a person reports to somebody else, as it comes from Kafka."""
    return _received(PersonManagerChanged(person_id=person_id, unit_id=unit_id, manager_id=manager_id), unit_id, at, 2)


def _received(event: Event, unit_id: UUID, at: datetime, sequence: int) -> Received[Any]:
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
        for handler in HANDLERS:
            taken = [event for event in events if isinstance(event.data, handler.events)]
            fresh: Sequence[Received[Any]] = (await inbox.admit(conn, handler, taken)).fresh
            if fresh:
                await handler.apply(conn, fresh, world.now)
