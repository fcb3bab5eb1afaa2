"""Whether everything has come to rest: nothing to publish, nothing due, nobody behind."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from deploy.verify.log import Log, Place
from deploy.verify.session import connect
from deploy.verify.store import service as services
from shared.clock import Clock
from shared.messaging import history
from shared.messaging.handler import Handler
from shared.messaging.offsets import applied_offsets

BROKER_IS_NEW = "the broker is new, and no service has been there yet"


async def under_way(
    databases: Mapping[str, str], handlers: Mapping[str, Sequence[Handler]], timers: Mapping[str, Collection[str]],
    log: Log, clock: Clock,
) -> list[str]:  # fmt: skip
    """What still is, in words."""
    backlogs = {}
    for service, dsn in databases.items():
        async with connect(service, dsn) as conn:
            backlogs[service] = await services.backlog(conn, timers.get(service, ()), clock.now())
    epoch = await log.epoch()
    if epoch is None:
        return [BROKER_IS_NEW]
    reasons = [reason for service, found in backlogs.items() for reason in _reasons(service, found, epoch)]
    reached = {service: await _reached(service, databases[service], epoch) for service in handlers}
    topics = {
        service: {kind.topic for handler in subscribed for kind in handler.events}
        for service, subscribed in handlers.items()
    }
    last = await log.ends(epoch, _furthest_behind(reached, topics))
    for service, places in reached.items():
        to_go = [
            offset + 1 - places.get(place, 0)
            for place, offset in last.items()
            if place[0] in topics[service] and offset >= places.get(place, 0)
        ]
        if to_go:
            reasons.append(f"{service} is up to {sum(to_go)} records behind")
        async with connect(service, databases[service]) as conn:
            lacking = await history.handler_lags(conn, service, epoch, handlers[service])
        reasons += [f"{service}'s {each.description}" for each in lacking]
    return reasons


def _furthest_behind(
    reached: Mapping[str, Mapping[Place, int]], topics: Mapping[str, Collection[str]]
) -> dict[Place, int]:
    """Where each partition has been handled by everybody who takes its topic; the beginning where one has not begun."""
    furthest: dict[Place, int] = {}
    for place in {place for places in reached.values() for place in places}:
        takers = [service for service, taken in topics.items() if place[0] in taken]
        furthest[place] = min((reached[service].get(place, 0) for service in takers), default=0)
    return furthest


async def _reached(service: str, dsn: str, epoch: UUID) -> Mapping[Place, int]:
    async with connect(service, dsn) as conn:
        return await applied_offsets(conn, service, epoch)


def _reasons(service: str, found: services.Backlog, epoch: UUID) -> list[str]:
    reasons = []
    if found.unpublished:
        reasons.append(f"{service} has {found.unpublished} events to publish")
    if found.parked_due:
        reasons.append(f"{service} has {found.parked_due} parked records to try again")
    if found.timers_due:
        reasons.append(f"{service} has {found.timers_due} timers to run")
    for part, known in (("relay", found.relay_epoch), ("consumer", found.consumer_epoch)):
        if known not in (None, epoch):
            reasons.append(f"{service}'s {part} has not noticed yet that the broker is new")
    return reasons
