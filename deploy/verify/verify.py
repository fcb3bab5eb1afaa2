"""Wait until all is quiet, judge topic by topic, then compare the copies."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from deploy.verify import copies
from deploy.verify.log import Log
from deploy.verify.report import Copy, Report, Subscription, Verdict
from deploy.verify.session import AWAY, CannotVerifyError, connect, connect_all, named
from deploy.verify.settle import under_way
from deploy.verify.store import service as services
from deploy.verify.store import tables
from deploy.verify.topic import Findings, TopicCase, producer_of, unknown_doubled
from shared.clock import Clock
from shared.events import REGISTRY
from shared.messaging.handler import Handler
from shared.messaging.history import known_handlers

_POLL_SECONDS = 0.25
_INBOX_DAYS = 29  # the shortest that a deployment may choose is 30
T = TypeVar("T")


def _silent(_: object) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears of it while it goes on: what is being done, in words; each topic's verdict, and each copy's."""

    progress: Callable[[str], None] = field(default=_silent)
    verdict: Callable[[Verdict], None] = field(default=_silent)
    copy: Callable[[Copy], None] = field(default=_silent)


async def verify(
    databases: Mapping[str, str],
    kafka: Mapping[str, Any] | str,
    handlers: Mapping[str, Sequence[Handler]],
    *,
    timers: Mapping[str, Collection[str]] | None = None,
    wait: float = 60,
    clock: Clock | None = None,
    inbox_days: int = _INBOX_DAYS,
    listener: Listener | None = None,
) -> Report:
    """Judge every record and every event between its producer's outbox and every handler that takes it.

    databases: DSN by service; handlers: by service, each of which must have its database here; timers: by service, the
    kinds its worker runs. kafka: a bootstrap address or aiokafka's client arguments. Waits up to `wait` seconds for
    everything to come to rest, and judges then, whether it did or not. clock: the deployment's, which says what is
    due. Events older than `inbox_days` are lost to nobody who has forgotten them. Memory does not grow with the log:
    the comparing is done in temporary tables of the services' databases. Raises CannotVerifyError.
    """
    client = {"bootstrap_servers": kafka} if isinstance(kafka, str) else kafka
    topics = sorted({kind.topic for kind in REGISTRY.values()})
    async with Log(client, topics) as log:
        case = _Case(
            databases, handlers, timers or {}, log, clock=clock or Clock(), listener=listener or Listener(), wait=wait
        )
        reasons = await case.settle()
        epoch = await case.epoch()
        findings = Findings()
        since = datetime.now(UTC) - timedelta(days=inbox_days)
        for topic in topics:
            await case.judge(TopicCase(topic, epoch, handlers, since.timestamp() * 1000, case.tell), findings)
        rest = await case.finish(findings)
        found = await case.copies()
        if await case.epoch() != epoch:
            reasons.append("the broker has begun a new life while it was being judged")
    return Report(
        facts=sorted(findings.facts, key=lambda fact: fact.type),
        subscriptions=sorted(
            [*findings.subscriptions, *rest], key=lambda each: (each.type, each.service, each.handler)
        ),
        foreign=findings.foreign,
        foreign_records=findings.foreign_records,
        copies=found,
        skipped=case.skipped,
        under_way=reasons,
        remembered_since={
            service: None if moment is None else moment.isoformat()
            for service, moment in sorted(findings.remembered_since.items())
        },
        remarks=[*_remarks(databases, handlers, findings), *_gone(case.gone)],
    )


class _Case:
    """One verification."""

    def __init__(
        self, databases: Mapping[str, str], handlers: Mapping[str, Sequence[Handler]],
        timers: Mapping[str, Collection[str]], log: Log, *, clock: Clock, listener: Listener, wait: float,
    ) -> None:  # fmt: skip
        self._databases = databases
        self._handlers = handlers
        self._timers = timers
        self._log = log
        self._clock = clock
        self._listener = listener
        self._deadline = time.monotonic() + wait
        self.tell = listener.progress
        self.skipped: dict[str, dict[str, int]] = {}
        self.gone: dict[str, list[str]] = {}

    async def settle(self) -> list[str]:
        """Wait until nothing is under way; what still is when the time is up, in words."""
        while True:
            try:
                reasons = await under_way(self._databases, self._handlers, self._timers, self._log, self._clock)
            except AWAY as error:
                reasons = [f"no answer yet from {named(error)}"]
            if not reasons or time.monotonic() > self._deadline:
                return reasons
            self.tell(f"waiting: {reasons[0]}")
            await asyncio.sleep(_POLL_SECONDS)

    async def epoch(self) -> UUID:
        """The broker's life; asked for when the databases answer."""

        async def ask() -> UUID:
            async with connect_all(self._databases, self._databases):
                epoch = await self._log.epoch()
            if epoch is None:
                raise CannotVerifyError(
                    "The broker is new, and no service has been there yet. Are the workers running?"
                )
            return epoch

        return await self._patiently(ask)

    async def judge(self, topic: TopicCase, findings: Findings) -> None:
        """One topic, from the beginning again when a part of it did not answer."""
        taking_part = topic.services(self._databases)
        if not taking_part:
            return

        async def once() -> Verdict:
            async with connect_all(self._databases, taking_part) as sessions:
                return await topic.judge(sessions, self._log, findings)

        self._listener.verdict(await self._patiently(once))

    async def finish(self, findings: Findings) -> list[Subscription]:
        """What is told of a service as a whole, and not of a topic."""
        rest = [each for each in findings.undecodable.values() if each.published]
        for service in self._databases:
            self.tell(f"{service}: counting effects")
            rest += await self._patiently(partial(self._whole, service, findings))
        return rest

    async def _whole(self, service: str, findings: Findings) -> list[Subscription]:
        async with connect(service, self._databases[service]) as conn:
            await tables.make_tables(conn)
            found = [
                line
                for handler in self._handlers.get(service, ())
                if (line := await unknown_doubled(service, conn, handler, findings.subscriptions)) is not None
            ]
            for again in await services.republished(conn):
                ids = [str(cause) for cause in again.caused_by]
                told = f"{service} (told again)"
                found.append(Subscription(again.type, service, told, doubled=again.too_many, doubled_ids=ids))
            if skipped := await services.skipped(conn, service):
                self.skipped[service] = skipped
            declared = {handler.name for handler in self._handlers.get(service, ())}
            if gone := (await known_handlers(conn, service)).keys() - declared:
                self.gone[service] = sorted(gone)
        return found

    async def copies(self) -> list[Copy]:
        """Every copy, one after the other."""
        found = []
        for service, table in copies.to_compare(self._databases, self._handlers):
            self.tell(f"{service}: comparing {table} with {copies.OWNER}'s")
            copy = await self._patiently(partial(copies.compare, self._databases, service, table))
            if copy is not None:
                found.append(copy)
                self._listener.copy(copy)
        return found

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Try it until it is done or the time to wait is up."""
        while True:
            try:
                return await work()
            except AWAY as error:
                if time.monotonic() > self._deadline:
                    raise CannotVerifyError(f"no answer from {named(error)}") from error
            await asyncio.sleep(_POLL_SECONDS)


def _gone(handlers: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        f"{service} no longer has {', '.join(names)}: what they did, and what came since, is not judged"
        for service, names in sorted(handlers.items())
    ]


def _remarks(databases: Mapping[str, str], handlers: Mapping[str, Sequence[Handler]], findings: Findings) -> list[str]:
    """What could not be judged, and why."""
    taken = {
        (service, producer_of(kind.topic))
        for service, subscribed in handlers.items()
        for handler in subscribed
        for kind in handler.events
    }
    remarks = [
        f"{service} takes events of {producer}, whose database is not part of this: judged from what is on Kafka alone"
        for service, producer in sorted(taken)
        if producer not in databases
    ]
    if copies.OWNER not in databases and (kept := copies.keepers(handlers)):
        remarks.append(
            f"the copies of people, units, access and sign-ins in {', '.join(kept)} were compared with nothing"
        )
    for service, moment in sorted(findings.remembered_since.items()):
        old = sum(fact.too_old for fact in findings.facts if fact.producer == service)
        if old and moment is not None:
            remarks.append(
                f"{old} records are older than {service}'s outbox remembers, which has all that it published since "
                f"{moment:%Y-%m-%d %H:%M} UTC: whether it wrote them nobody can say"
            )
    return remarks
