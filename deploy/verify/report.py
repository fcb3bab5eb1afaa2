"""What a verification found."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

UNDECODABLE = "(undecodable)"
UNKNOWN = "(no longer published)"
SAMPLES = 10  # ids told of each finding


@dataclass(slots=True)
class Fact:
    """One event type, from its producer to Kafka.

    published: events, by the producer's outbox and by what lies on Kafka. on_kafka: those that lie there now.
    repeated: further records of the same events, which at-least-once allows. replaced: compacted away by a newer state.
    expired: older than what the topic keeps. missing: published in this life of the broker, and not there.
    """

    type: str
    producer: str
    published: int = 0
    on_kafka: int = 0
    repeated: int = 0
    replaced: int = 0
    expired: int = 0
    missing: int = 0
    missing_ids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Subscription:
    """One event type at one handler. Every published event is counted once, in `applied` to `lost`.

    superseded: a newer state was applied. waiting: not reached yet. dead: dead letters, discarded ones included.
    lost: reached and passed by, and nowhere kept. doubled: effects, or events told, more than once by one cause.
    """

    type: str
    service: str
    handler: str
    published: int = 0
    applied: int = 0
    superseded: int = 0
    parked: int = 0
    dead: int = 0
    waiting: int = 0
    lost: int = 0
    doubled: int = 0
    lost_ids: list[str] = field(default_factory=list)
    doubled_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """The whole finding.

    facts, subscriptions: types of which nothing was published and nothing found are left out.
    skipped: records of types that a service does not take, by service and type, redeliveries included.
    under_way: what had not come to rest when waiting ended, in words; nothing when all was quiet.
    remarks: what could not be judged, and why.
    """

    facts: Sequence[Fact]
    subscriptions: Sequence[Subscription]
    skipped: dict[str, dict[str, int]]
    under_way: Sequence[str]
    remarks: Sequence[str]

    @property
    def published(self) -> int:
        """Events."""
        return sum(fact.published for fact in self.facts)

    @property
    def lost(self) -> int:
        """Events missing on Kafka, and events each handler did not get: one lost event counts for each of them."""
        return sum(fact.missing for fact in self.facts) + sum(each.lost for each in self.subscriptions)

    @property
    def doubled(self) -> int:
        """Effects and told events that are one too many."""
        return sum(each.doubled for each in self.subscriptions)

    @property
    def clean(self) -> bool:
        """Everything came to rest, and nothing was lost or doubled."""
        return not (self.under_way or self.lost or self.doubled)

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        totals = {"clean": self.clean, "published": self.published, "lost": self.lost, "doubled": self.doubled}
        return totals | asdict(self)
