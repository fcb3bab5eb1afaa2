"""Wait until all is quiet, read the accounts in order, judge."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka.errors import KafkaError

from deploy.verify import store
from deploy.verify.judge import Evidence, judge, producer_of
from deploy.verify.log import Contents, Log
from deploy.verify.report import Report
from shared.clock import Clock
from shared.db import UNAVAILABLE
from shared.events import REGISTRY
from shared.inbox import Handler
from shared.offsets import applied_offsets

_POLL_SECONDS = 0.25
_INBOX_DAYS = 29  # the shortest that a deployment may choose is 30


class CannotVerify(RuntimeError):
    """A database or the broker did not answer for as long as was to be waited; the message says which."""


async def verify(
    databases: Mapping[str, str],
    kafka: Mapping[str, Any] | str,
    handlers: Mapping[str, Sequence[Handler]],
    *,
    timers: Mapping[str, Collection[str]] | None = None,
    wait: float = 60,
    clock: Clock | None = None,
    inbox_days: int = _INBOX_DAYS,
) -> Report:
    """Judge every event between its producer's outbox and every handler that takes it.

    databases: DSN by service; handlers: by service, each of which must have its database here; timers: by service, the
    kinds its worker runs. kafka: a bootstrap address or aiokafka's client arguments. Waits up to `wait` seconds for
    everything to come to rest, and judges then, whether it did or not. clock: the deployment's, which says what is
    due. Events older than `inbox_days` are judged only while their outbox row is kept. Raises CannotVerify.
    """
    client = {"bootstrap_servers": kafka} if isinstance(kafka, str) else kafka
    topics = sorted({kind.topic for kind in REGISTRY.values()})
    async with Log(client, topics) as log:
        case = _Case(databases, handlers, timers or {}, log, clock or Clock(), topics)
        deadline = time.monotonic() + wait
        under_way = await case.settle(deadline)
        evidence = await case.gather(deadline, inbox_days)
        facts, subscriptions = judge(evidence, handlers)
    return Report(
        facts=facts,
        subscriptions=subscriptions,
        skipped={service: account.skipped for service, account in evidence.accounts.items() if account.skipped},
        under_way=under_way,
        remarks=_remarks(databases, handlers),
    )


class _Case:
    """One verification."""

    def __init__(
        self, databases: Mapping[str, str], handlers: Mapping[str, Sequence[Handler]],
        timers: Mapping[str, Collection[str]], log: Log, clock: Clock, topics: Sequence[str],
    ) -> None:  # fmt: skip
        self._databases = databases
        self._handlers = handlers
        self._timers = timers
        self._log = log
        self._clock = clock
        self._topics = topics

    async def settle(self, deadline: float) -> list[str]:
        """Wait until nothing is under way; what still is when the time is up, in words."""
        while True:
            try:
                reasons = await self._under_way()
            except (*UNAVAILABLE, KafkaError) as error:
                reasons = [f"no answer yet from {_named(error)}"]
            if not reasons or time.monotonic() > deadline:
                return reasons
            await asyncio.sleep(_POLL_SECONDS)

    async def gather(self, deadline: float, inbox_days: int) -> Evidence:
        """The accounts, read in the order that `Evidence` asks for."""
        while True:
            try:
                return await self._gather(inbox_days)
            except (*UNAVAILABLE, KafkaError) as error:
                if time.monotonic() > deadline:
                    raise CannotVerify(f"no answer from {_named(error)}") from error
            await asyncio.sleep(_POLL_SECONDS)

    async def _gather(self, inbox_days: int) -> Evidence:
        published = {}
        for service in self._databases:
            async with self._connect(service) as conn:
                published[service] = await store.published(conn, self._topics)
        contents = await self._log.read_to_end()
        if contents is None:
            raise CannotVerify("The broker is new, and no service has been there yet. Are the workers running?")
        reached = {service: await self._reached(service, contents.epoch) for service in self._handlers}
        accounts = {}
        for service in self._databases:
            async with self._connect(service) as conn:
                subscribed = self._handlers.get(service, ())
                accounts[service] = await store.account(conn, service, subscribed, contents.epoch)
        since = datetime.now(UTC) - timedelta(days=inbox_days)
        return Evidence(published, contents, reached, accounts, remembered_since=since.timestamp() * 1000)

    async def _under_way(self) -> list[str]:
        backlogs = {}
        for service in self._databases:
            async with self._connect(service) as conn:
                backlogs[service] = await store.backlog(conn, self._timers.get(service, ()), self._clock.now())
        contents = await self._log.read_to_end()
        if contents is None:
            return ["the broker is new, and no service has been there yet"]
        reasons = [reason for service, found in backlogs.items() for reason in _reasons(service, found, contents)]
        for service, subscribed in self._handlers.items():
            topics = {kind.topic for handler in subscribed for kind in handler.events}
            reached = await self._reached(service, contents.epoch)
            to_go = [
                last + 1 - reached.get(place, 0)
                for place, last in contents.last.items()
                if place[0] in topics and last >= reached.get(place, 0)
            ]
            if to_go:
                reasons.append(f"{service} is up to {sum(to_go)} records behind")
        return reasons

    async def _reached(self, service: str, epoch: UUID) -> dict[tuple[str, int], int]:
        async with self._connect(service) as conn:
            return await applied_offsets(conn, service, epoch)

    @asynccontextmanager
    async def _connect(self, service: str) -> AsyncIterator[store.Connection]:
        try:
            conn = await asyncpg.connect(self._databases[service], timeout=5, command_timeout=120)
        except asyncpg.InvalidAuthorizationSpecificationError as error:  # waiting will not help
            raise CannotVerify(f"{service}'s database: {error}") from error
        except UNAVAILABLE as error:
            raise ConnectionError(f"{service}'s database: {str(error) or type(error).__name__}") from error
        except asyncpg.PostgresError as error:  # waiting will not help
            raise CannotVerify(f"{service}'s database: {error}") from error
        try:
            yield conn
        finally:
            await conn.close(timeout=5)


def _named(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return f"the broker: {text}" if isinstance(error, KafkaError) else text


def _reasons(service: str, found: store.Backlog, contents: Contents) -> list[str]:
    reasons = []
    if found.unpublished:
        reasons.append(f"{service} has {found.unpublished} events to publish")
    if found.parked_due:
        reasons.append(f"{service} has {found.parked_due} parked records to try again")
    if found.timers_due:
        reasons.append(f"{service} has {found.timers_due} timers to run")
    for part, epoch in (("relay", found.relay_epoch), ("consumer", found.consumer_epoch)):
        if epoch not in (None, contents.epoch):
            reasons.append(f"{service}'s {part} has not noticed yet that the broker is new")
    return reasons


def _remarks(databases: Mapping[str, str], handlers: Mapping[str, Sequence[Handler]]) -> list[str]:
    """Subscriptions whose producer is elsewhere."""
    taken = {
        (service, producer_of(kind))
        for service, subscribed in handlers.items()
        for handler in subscribed
        for kind in handler.events
    }
    return [
        f"{service} takes events of {producer}, whose database is not part of this: judged from what is on Kafka alone"
        for service, producer in sorted(taken)
        if producer not in databases
    ]
