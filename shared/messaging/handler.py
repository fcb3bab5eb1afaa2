"""Consuming, as a service sees it: what a handler receives, how it answers and how it declares itself (ADR 0003)."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar
from uuid import UUID

from aiokafka import ConsumerRecord
from opentelemetry.context import Context

from shared.events.event import Event
from shared.postgres.pool import Connection

E = TypeVar("E", bound=Event)


@dataclass(slots=True)  # not frozen: one is made for every record, and a frozen one costs three times as much
class Received(Generic[E]):
    """One event as it came from Kafka. Handlers read it and leave it as it is.

    `data` is None only for a tombstone, which only compacted topics carry: there the key is `subject`.
    `context` is the trace context of handling this record; what is caused by it continues its trace.
    """

    id: UUID
    type: str
    source: str
    subject: str
    time: datetime
    sequence: int
    unit: UUID | None
    programme: UUID | None
    correlation_id: str
    causation_id: UUID | None
    data: E
    topic: str
    partition: int
    offset: int
    key: str
    context: Context


@dataclass(frozen=True, slots=True)
class Parked:
    """A handler's answer for an event whose parent is not known yet: keep it, and try again until it is."""

    event_id: UUID
    waiting_for: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """An answer for an event that cannot be true, given what is known: it becomes a dead letter, without another try.

    reason: a code of `dead_letter_reason` in codes.toml; detail: what it contradicts, never what it holds.
    """

    event_id: UUID
    reason: str
    detail: str


Unapplied = Parked | Rejected


Apply = Callable[[Connection, Sequence[Received[Any]], datetime], Awaitable[Sequence[Unapplied] | None]]


@dataclass(frozen=True, slots=True)
class Handler:
    """What a service does with events of some types.

    name: unique and lasting, since the inbox is kept under it: `feedback.rounds.open_rounds`.
    events: all types it takes; they reach `apply` in one list, in log order.
    apply: set-wise, on the batch's transaction; it raises to have exactly the faulty record dead-lettered, and returns
        what must wait for its parent or is refused. It runs again with the same events when the transaction fails.
    mode: `latest_state` skips an event older than one already applied to the same aggregate; `every_fact` takes each
        once, in no order that it may rely on after a replay.
    effect: "table.column" that holds the causing event's id, by which `medled verify` counts effects; where an event
        has several, "table.column/more/columns", which together tell them apart. None where the effect is an upsert by
        key, which cannot double.
    begins: where a type that is new to it begins in a service that has read its topic for long (ADR 0009). `beginning`:
        it is given all that Kafka has of it, beside the live events. `now`: nothing that was told before its first
        start.
    no_replay: why what it does must not be done again, where no `effect` says so: a replay is refused with these words.
    """

    name: str
    events: tuple[type[Event], ...]
    apply: Apply
    mode: Literal["latest_state", "every_fact"]
    effect: str | None = None
    begins: Literal["beginning", "now"] = "beginning"
    no_replay: str | None = None

    @property
    def why_no_replay(self) -> str | None:
        """Why it may not be replayed; None: doing it again changes nothing."""
        if self.no_replay is None and self.effect is not None:
            return f"each event has an effect of its own ({self.effect}), which would be doubled"
        return self.no_replay


Record: TypeAlias = ConsumerRecord[bytes, bytes]
