"""Which events a reader gets, and where a reader may resume."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.portal.dashboard.domain import EVERYTHING, Within
from shared.events import REGISTRY

PUBLIC = tuple(event for event in REGISTRY.values() if not event.restricted)
"""The types of event that everybody may see."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class StreamFilter:
    """What one reader asked for and may see; None leaves that side open.

    Hashable, so that readers who want the same share one encoding.
    """

    types: frozenset[str] | None = None
    within: Within = EVERYTHING


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One public event at its position in the stream, with the names of what it mentions."""

    position: int
    id: UUID
    type: str
    source: str
    subject: str
    time: datetime
    sequence: int
    unit: UUID | None
    programme: UUID | None
    correlation_id: str
    trace_id: str
    data: dict[str, Any]
    names: Mapping[str, Any]


def matches(wanted: StreamFilter, entry: StreamEntry) -> bool:
    """Whether a reader gets this entry. An event without a unit is in no unit."""
    return (
        (wanted.types is None or entry.type in wanted.types)
        and (wanted.within.units is None or entry.unit in wanted.within.units)
        and (wanted.within.programme is None or entry.programme == wanted.within.programme)
    )


@dataclass(frozen=True, slots=True)
class Gap:
    """A reader asked for a position that cannot be resumed from without missing events."""

    asked: int
    kept_after: int
    reason: str


def gap(asked: int, *, pruned_to: int, head: int) -> Gap | None:
    """The gap between where a reader stands and what is kept, if there is one.

    `expired`: events after `asked` have left the window. `unknown_position`: the stream never got that far, so the
    reader knew another life of this database. Either way everything kept follows after `kept_after`.
    """
    if asked < pruned_to:
        return Gap(asked, pruned_to, "expired")
    if asked > head:
        return Gap(asked, pruned_to, "unknown_position")
    return None
