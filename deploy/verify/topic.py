"""One topic: what its producer's outbox says, what lies on Kafka, and what became of it at each handler.

Sound on a running system by the order of reading: the moment up to which the outbox calls rows published, the topic,
the outbox, and then, of each consumer in one snapshot, how far it has come and what became of its events. So what is
published and before that place must be in its accounts; and what lies on the topic has its row in the outbox.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from deploy.verify.log import Log, Retained
from deploy.verify.report import NAMED, UNDECODABLE, UNKNOWN, Fact, Foreign, Subscription, Verdict
from deploy.verify.store import consumer, producer, tables
from deploy.verify.store.consumer import Reader
from shared.events import REGISTRY
from shared.messaging.handler import Handler

Tell = Callable[[str], None]


@dataclass(slots=True)
class Findings:
    """What the topics judged so far have come to, and of each what is told only when all of them are."""

    facts: list[Fact] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)
    undecodable: dict[str, Subscription] = field(default_factory=dict)
    foreign: int = 0
    foreign_records: list[Foreign] = field(default_factory=list)
    remembered_since: dict[str, datetime | None] = field(default_factory=dict)


def producer_of(topic: str) -> str:
    """The service whose outbox tells what is on a topic: each has one."""
    return next(kind.source.rpartition("/")[2] for kind in REGISTRY.values() if kind.topic == topic)


class TopicCase:
    """The verification of one topic."""

    def __init__(
        self, topic: str, epoch: UUID, handlers: Mapping[str, Sequence[Handler]], remembered_since: float, tell: Tell
    ) -> None:
        self.topic = topic
        self.producer = producer_of(topic)
        self._epoch = epoch
        self._handlers = {
            service: taking
            for service, subscribed in handlers.items()
            if (taking := [each for each in subscribed if any(kind.topic == topic for kind in each.events)])
        }
        self._remembered_since = remembered_since
        self._tell = tell

    def services(self, databases: Mapping[str, str]) -> list[str]:
        """Whose databases it takes, the producer's first; without that, a consumer's. None: nobody here knows of it."""
        return [
            *[service for service in (self.producer,) if service in databases],
            *[service for service in self._handlers if service != self.producer],
        ]

    async def judge(self, sessions: Mapping[str, tables.Connection], log: Log, findings: Findings) -> Verdict:
        """Read and judge it; the verdict is also kept in `findings`, once all of it stands."""
        home = next(iter(sessions.values()))
        for conn in sessions.values():
            await tables.make_tables(conn)
        until = await producer.clock(home)
        kept = await self._read(sessions, log)
        if is_told := self.producer in sessions:
            self._tell(f"{self.topic}: comparing with the outbox of {self.producer}")
            before = await producer.remember_outbox(home, self.topic)
            findings.remembered_since.setdefault(self.producer, before)
            await producer.find_foreign(home, self.topic, before)
            await producer.find_absent(home, until, kept.since)
        facts = [_fact(found, self.producer) for found in await producer.counts(home) if found.type in REGISTRY]
        subscriptions: list[Subscription] = []
        for service, conn in sessions.items():
            if service in self._handlers:
                self._tell(f"{self.topic}: asking {service}")
                if conn is not home:
                    await _hand_over(home, conn)
                subscriptions += await self._subscriptions(service, conn)
        faults = {service: await self._faults(service, sessions[service]) for service in self._handlers}
        foreign = await self._foreign(sessions, home) if is_told else []
        findings.foreign += sum((await producer.foreign_counts(home)).values())
        findings.foreign_records += foreign[: NAMED - len(findings.foreign_records)]
        for service, found in faults.items():
            _add_faults(findings.undecodable, service, found)
        verdict = Verdict(
            self.topic,
            [fact for fact in facts if fact.published],
            sorted(
                (each for each in subscriptions if each.published or each.lost or each.doubled),
                key=lambda each: (each.type, each.service, each.handler),
            ),
        )
        findings.facts += verdict.facts
        findings.subscriptions += verdict.subscriptions
        return verdict

    async def _read(self, sessions: Mapping[str, tables.Connection], log: Log) -> Retained:
        kept, records = Retained(), 0
        async for entries in log.read(self.topic, kept):
            await asyncio.gather(*[tables.add_entries(conn, entries) for conn in sessions.values()])
            records += len(entries)
            self._tell(f"{self.topic}: {records} records read")
        for conn in sessions.values():
            await tables.log_is_complete(conn)
        return kept

    async def _subscriptions(self, service: str, conn: tables.Connection) -> list[Subscription]:
        pairs = [
            (kind.type, handler.name, handler.begins == "now")
            for handler in self._handlers[service]
            for kind in handler.events
            if kind.topic == self.topic
        ]
        await consumer.expect_events(conn, sorted({type_ for type_, _, _ in pairs}))
        found = await consumer.outcomes(conn, self._reader(service), pairs, self._remembered_since)
        lines = {
            (each.type, each.handler): Subscription(
                each.type, service, each.handler, each.published, each.applied, each.superseded, each.parked,
                each.dead, each.waiting, each.lost, lost_ids=[str(id_) for id_ in each.lost_ids],
            )
            for each in found
        }  # fmt: skip
        for handler in self._handlers[service]:
            for doubled in await consumer.doubled(conn, handler):
                if doubled.type is not None:
                    key = (doubled.type, handler.name)
                    line = lines.setdefault(key, Subscription(doubled.type, service, handler.name))
                    line.doubled, line.doubled_ids = doubled.too_many, [str(cause) for cause in doubled.causes]
        return list(lines.values())

    async def _faults(self, service: str, conn: tables.Connection) -> consumer.Faults:
        types = {kind.type for handler in self._handlers[service] for kind in handler.events}
        return await consumer.faults(conn, self._reader(service), sorted(types))

    async def _foreign(self, sessions: Mapping[str, tables.Connection], home: tables.Connection) -> list[Foreign]:
        found = await producer.strangers(home, NAMED)
        told = {
            each: Foreign(
                self.topic, each.partition, each.offset, each.type, each.subject,
                None if each.event_id is None else str(each.event_id), each.why,
            )
            for each in found
        }  # fmt: skip
        for service in self._handlers if found else ():
            for each, by, outcome in await consumer.taken(sessions[service], self._reader(service), found):
                took = outcome in ("applied", "superseded", "parked", "parent_unknown")
                (told[each].taken_by if took else told[each].refused_by)[by] = outcome
        return list(told.values())

    def _reader(self, service: str) -> Reader:
        return Reader(service, self._epoch, self.topic)


async def _hand_over(home: tables.Connection, conn: tables.Connection) -> None:
    """What the producer's outbox says of the topic, to a consumer's session."""
    async for places in producer.all_foreign(home):
        await tables.add_foreign(conn, places)
    async for events in producer.all_absent(home):
        await tables.add_absent(conn, events)


def _fact(found: producer.Counts, by: str) -> Fact:
    return Fact(
        found.type, by, found.published, found.on_kafka, found.repeated, found.replaced, found.expired, found.missing,
        [str(id_) for id_ in found.missing_ids], found.too_old,
    )  # fmt: skip


def _add_faults(lines: dict[str, Subscription], service: str, found: consumer.Faults) -> None:
    line = lines.setdefault(service, Subscription(UNDECODABLE, service, service))
    line.published += found.published
    line.dead += found.dead
    line.waiting += found.waiting
    line.lost += found.lost
    line.lost_ids = [*line.lost_ids, *found.lost_places][:10]


async def unknown_doubled(
    service: str, conn: tables.Connection, handler: Handler, known: Sequence[Subscription]
) -> Subscription | None:
    """Doubled effects of events that no topic and no outbox has any more. The session's tables must be empty."""
    told = sum(each.doubled for each in known if (each.service, each.handler) == (service, handler.name))
    found = await consumer.doubled(conn, handler)
    rest = sum(each.too_many for each in found) - told
    if rest <= 0:
        return None
    ids = {id_ for each in known for id_ in each.doubled_ids}
    samples = [str(cause) for each in found for cause in each.causes if str(cause) not in ids]
    return Subscription(UNKNOWN, service, handler.name, doubled=rest, doubled_ids=samples)
