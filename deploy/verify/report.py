"""What a verification found."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

UNDECODABLE = "(undecodable)"
UNKNOWN = "(no longer published)"
SAMPLES = 10  # ids told of each finding
NAMED = 100  # foreign records told one by one


@dataclass(slots=True)
class Fact:
    """One event type, from its producer to Kafka.

    published: events, by the producer's outbox and by what lies on Kafka. on_kafka: those that lie there now.
    repeated: further records of the same events, which at-least-once allows. replaced: compacted away by a newer state.
    expired: older than what the topic keeps. missing: published in this life of the broker, and not there.
    too_old: older than the outbox remembers, so that nobody can say whether it wrote them.
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
    too_old: int = 0


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
class Foreign:
    """A record that no outbox has written: where it lies, and what it says it is, as far as it can be read.

    why: unknown_subject (the outbox never told of it), sequence_ahead (nor came so far), other_content (under a genuine
    event's id), not_told. taken_by: outcome by handler (`applied` is harm done, `superseded` and `parked` not yet).
    refused_by: reason of the dead letter, by handler or, where it was refused whole, by service.
    """

    topic: str
    partition: int
    offset: int
    type: str | None
    subject: str | None
    event_id: str | None
    why: str
    taken_by: dict[str, str] = field(default_factory=dict)
    refused_by: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Copy:
    """A service's copy of one of the owner's tables.

    ghosts: in the copy alone. missing: at the owner alone. differing: in both, and not the same; `fields` says how
    often in which, never what they hold. duplicates: logins that more than one person at work holds, `duplicate_ids`
    the people. For the owner's own table everything but the duplicates is 0.
    """

    service: str
    table: str
    owner: str
    rows: int = 0
    ghosts: int = 0
    missing: int = 0
    differing: int = 0
    duplicates: int = 0
    fields: dict[str, int] = field(default_factory=dict)
    ghost_ids: list[str] = field(default_factory=list)
    missing_ids: list[str] = field(default_factory=list)
    differing_ids: list[str] = field(default_factory=list)
    duplicate_ids: list[list[str]] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """Rows and logins that are not as the owner has them, or held twice."""
        return self.ghosts + self.missing + self.differing + self.duplicates


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about one topic: its types, on their way to Kafka and at each handler."""

    topic: str
    facts: Sequence[Fact]
    subscriptions: Sequence[Subscription]


@dataclass(frozen=True, slots=True)
class Report:
    """The whole finding.

    facts, subscriptions: types of which nothing was published and nothing found are left out. foreign: records that no
    outbox has written, the first of which `foreign_records` tells. copies: every one that was compared, sound or not.
    skipped: records of types that a service does not take, by service and type, redeliveries included.
    under_way: what had not come to rest when waiting ended, in words; nothing when all was quiet.
    remembered_since: by producer, from when on its outbox can say what it wrote; None: from the beginning.
    remarks: what could not be judged, and why.
    """

    facts: Sequence[Fact]
    subscriptions: Sequence[Subscription]
    foreign: int
    foreign_records: Sequence[Foreign]
    copies: Sequence[Copy]
    skipped: dict[str, dict[str, int]]
    under_way: Sequence[str]
    remembered_since: dict[str, str | None]
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
    def astray(self) -> int:
        """Rows of copies that are not as their owner has them, and logins held twice."""
        return sum(each.faults for each in self.copies)

    @property
    def clean(self) -> bool:
        """Everything came to rest, nothing was lost or doubled, nothing is foreign, and all copies are true."""
        return not (self.under_way or self.lost or self.doubled or self.foreign or self.astray)

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        totals = {
            "clean": self.clean, "published": self.published, "lost": self.lost, "doubled": self.doubled,
            "astray": self.astray,
        }  # fmt: skip
        return totals | asdict(self)
