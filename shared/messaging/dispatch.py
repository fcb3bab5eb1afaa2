"""A service's handlers: what a record holds for them, and what it means when one fails.

Both ways to a handler stand on it: the first one, in a batch (`consumer`), and every later one, alone (`retries`).
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.events.envelope import UnknownTypeError, parse_headers
from shared.events.event import Event, decode, type_of
from shared.messaging.handler import Handler, Received, Record, Unapplied
from shared.observability.tracing import record_context
from shared.postgres.pool import Connection

WHOLE_RECORD = ""  # what is given up when no single handler is to blame


class HandlerFailedError(Exception):
    """A handler raised, or what it wrote was refused at commit (then no handler is named); the cause says what."""

    def __init__(self, handler: str) -> None:
        super().__init__(handler or "the transaction")
        self.handler = handler

    @property
    def detail(self) -> str:
        """Who failed, and how; never what the record holds, which the cause may quote."""
        return f"{self}: {type(self.__cause__).__name__}"


class Handlers:
    """The handlers of one service, by name and by the types they take."""

    def __init__(self, service: str, handlers: Sequence[Handler]) -> None:
        self.service = service
        self.all = tuple(handlers)
        self.by_name = {handler.name: handler for handler in handlers}
        if len(self.by_name) != len(handlers):
            raise ValueError("two handlers have the same name; the inbox is kept by name")
        self.by_type: dict[str, list[Handler]] = defaultdict(list)
        for handler in handlers:
            for event in handler.events:
                self.by_type[event.type].append(handler)
        self.topics = sorted({event.topic for handler in handlers for event in handler.events})
        self.pairs = sorted((each.name, event.type, event.topic) for each in handlers for event in each.events)
        self.begins: Mapping[
            tuple[str, str], int
        ] = {}  # by handler and type: told before that moment (ms), not its business

    @property
    def generation(self) -> str:
        """The same for all workers that have the same handlers for the same types."""
        told = "\n".join(f"{handler} {type_}" for handler, type_, _ in self.pairs)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def handlers_for(self, type_: str, told_at: int) -> Sequence[Handler]:
        """Who takes an event of this type whose record has this time (ms)."""
        taking = self.by_type[type_]
        if not self.begins:
            return taking
        return [each for each in taking if told_at >= self.begins.get((each.name, type_), 0)]

    def decode(self, record: Record) -> Received[Any]:
        """The event in a record.

        Raises UnknownTypeError for one that no handler here takes, UndecodableError for what is no event or not this
        topic's.
        """
        envelope = parse_headers(record.headers)
        if envelope.type not in self.by_type:
            type_of(envelope, record.topic)  # what belongs elsewhere is told, whoever takes it
            raise UnknownTypeError(envelope.type)
        data: Event | None = decode(envelope, record.value, topic=record.topic, key=record.key)
        return Received(
            id=envelope.id, type=envelope.type, source=envelope.source, subject=envelope.subject, time=envelope.time,
            sequence=envelope.sequence, unit=envelope.unit, programme=envelope.programme,
            correlation_id=envelope.correlation_id, causation_id=envelope.causation_id, data=data,
            topic=record.topic, partition=record.partition, offset=record.offset, key=(record.key or b"").decode(),
            context=record_context(envelope, consumer=self.service),
        )  # fmt: skip


async def apply(
    conn: Connection, handler: Handler, events: Sequence[Received[Any]], now: datetime
) -> Sequence[Unapplied]:
    """Have a handler take these events; what must wait or is refused comes back. Raises HandlerFailedError."""
    try:
        return await handler.apply(conn, events, now) or ()
    except Exception as error:
        raise HandlerFailedError(handler.name) from error
