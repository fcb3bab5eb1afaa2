"""The verdict: pure, from what was read to what it means."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from deploy.verify.log import Contents, Place
from deploy.verify.report import SAMPLES, UNDECODABLE, UNKNOWN, Fact, Subscription
from deploy.verify.store import Account, Published
from shared.events import REGISTRY, Event
from shared.inbox import Handler


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was read, in an order that makes it sound on a running system.

    First what the producers call published, then Kafka, then how far each consumer has come (`reached`: the offset
    after its last record, by topic and partition), then what became of its events. So an event that is published, and
    before `reached`, must be in the accounts.
    """

    published: Mapping[str, Sequence[Published]]  # by service
    contents: Contents
    reached: Mapping[str, Mapping[tuple[str, int], int]]  # by service
    accounts: Mapping[str, Account]  # by service
    remembered_since: float  # ms; inboxes forget what is older


@dataclass(slots=True)
class _Events:
    """The published events of one type: where each lies on Kafka, None when it does not; and what excuses what."""

    places: dict[UUID, Place | None]
    replaced: set[UUID]
    expired: set[UUID]
    forgotten: set[UUID]  # so old that inboxes may have dropped them: that nobody remembers them says nothing


def judge(evidence: Evidence, handlers: Mapping[str, Sequence[Handler]]) -> tuple[list[Fact], list[Subscription]]:
    """What happened to each type on its way to Kafka, and at each of its handlers."""
    events = {name: _events(kind, evidence) for name, kind in REGISTRY.items()}
    types = {event_id: name for name, found in events.items() for event_id in found.places}
    facts = [_fact(REGISTRY[name], found, evidence.contents) for name, found in events.items()]
    subscriptions = [
        _subscription(kind.type, service, handler, events[kind.type], evidence)
        for service, subscribed in handlers.items()
        for handler in subscribed
        for kind in handler.events
    ]
    for service, subscribed in handlers.items():
        subscriptions += _undecodable(service, subscribed, evidence)
        subscriptions += _doubled_effects(service, subscribed, evidence.accounts[service], types)
    for service, account in evidence.accounts.items():
        subscriptions += _told_again(service, account)
    return (
        [fact for fact in facts if fact.published],
        [each for each in _merged(subscriptions) if each.published or each.lost or each.doubled],
    )


def _events(kind: type[Event], evidence: Evidence) -> _Events:
    rows = [row for row in evidence.published.get(producer_of(kind), ()) if row.type == kind.type]
    on_kafka = evidence.contents.places.get(kind.type, {})
    places: dict[UUID, Place | None] = {row.id: None for row in rows}
    places |= {
        event_id: place
        for event_id, (place, time) in on_kafka.items()
        if event_id in places or time >= evidence.remembered_since
    }
    absent = [row for row in rows if places[row.id] is None]
    replaced, expired = set(), set()
    if kind.compacted:
        # Of each key the newest record stays; a tombstone goes too, when everybody has had time to see it.
        newest = {row.key: row for row in rows}
        replaced = {row.id for row in absent if newest[row.key] is not row or row.is_tombstone}
    elif absent:
        kept_since = evidence.contents.kept_since(kind.topic)
        expired = {row.id for row in absent if row.created_ms < kept_since}
    forgotten = {row.id for row in rows if row.created_ms < evidence.remembered_since}
    return _Events(places, replaced, expired, forgotten)


def producer_of(kind: type[Event]) -> str:
    """The service whose outbox tells events of this type."""
    return kind.source.rpartition("/")[2]


def _fact(kind: type[Event], events: _Events, contents: Contents) -> Fact:
    absent = [event_id for event_id, place in events.places.items() if place is None]
    missing = [event_id for event_id in absent if event_id not in events.replaced | events.expired]
    return Fact(
        type=kind.type,
        producer=producer_of(kind),
        published=len(events.places),
        on_kafka=len(events.places) - len(absent),
        repeated=contents.repeated.get(kind.type, 0),
        replaced=len(events.replaced),
        expired=len(events.expired),
        missing=len(missing),
        missing_ids=_sample(missing),
    )


def _subscription(name: str, service: str, handler: Handler, events: _Events, evidence: Evidence) -> Subscription:
    account, reached = evidence.accounts[service], evidence.reached[service]
    outcomes = account.outcomes[handler.name]
    judged = {key: place for key, place in events.places.items() if key in outcomes or key not in events.forgotten}
    result = Subscription(name, service, handler.name, published=len(judged))
    lost = []
    for event_id, place in judged.items():
        outcome = outcomes.get(event_id)
        if outcome == "applied":
            result.applied += 1
        elif outcome == "superseded" or (outcome is None and event_id in events.replaced):
            result.superseded += 1
        elif outcome is not None and (state := account.aside.get((handler.name, event_id))):
            result.parked += state == "parked"
            result.dead += state != "parked"
        elif outcome is None and place is not None and place[2] >= reached.get(place[:2], 0):
            result.waiting += 1
        elif outcome is None and place in account.buried:  # refused only at commit: for no handler in particular
            result.dead += 1
        else:
            lost.append(event_id)
    result.lost, result.lost_ids = len(lost), _sample(lost)
    return result


def _undecodable(service: str, handlers: Sequence[Handler], evidence: Evidence) -> Iterable[Subscription]:
    """Records that this service read and could not decode: each must be a dead letter."""
    topics = {kind.topic for handler in handlers for kind in handler.events}
    types = {kind.type for handler in handlers for kind in handler.events}
    result = Subscription(UNDECODABLE, service, service)
    for place, name in evidence.contents.faults:
        if place[0] not in topics or (name is not None and name not in types):
            continue
        result.published += 1
        if place in evidence.accounts[service].buried:
            result.dead += 1
        elif place[2] >= evidence.reached[service].get(place[:2], 0):
            result.waiting += 1
        else:
            result.lost += 1
            result.lost_ids = [*result.lost_ids, ":".join(map(str, place))][:SAMPLES]
    yield result


def _doubled_effects(
    service: str, handlers: Sequence[Handler], account: Account, types: Mapping[UUID, str]
) -> Iterable[Subscription]:
    for handler in handlers:
        for cause, times in account.effects.get(handler.name, {}).items():
            yield Subscription(
                types.get(cause, UNKNOWN), service, handler.name, doubled=times - 1, doubled_ids=[str(cause)]
            )


def _told_again(service: str, account: Account) -> Iterable[Subscription]:
    for again in account.told_again:
        yield Subscription(
            again.type, service, f"{service} (told again)", doubled=again.times - 1, doubled_ids=[str(again.caused_by)]
        )


def _merged(subscriptions: Iterable[Subscription]) -> list[Subscription]:
    """One line for each type and handler."""
    lines: dict[tuple[str, str, str], Subscription] = {}
    for each in subscriptions:
        line = lines.setdefault((each.type, each.service, each.handler), each)
        if line is not each:
            line.doubled += each.doubled
            line.doubled_ids = [*line.doubled_ids, *each.doubled_ids][:SAMPLES]
    return [lines[key] for key in sorted(lines)]


def _sample(ids: Iterable[UUID]) -> list[str]:
    return sorted(map(str, ids))[:SAMPLES]
