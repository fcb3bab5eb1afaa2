"""How long people have stood where they stand. Pure rules; time comes as an argument (ADR 0004)."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from shared.events import PersonStatus

Place = TypeVar("Place", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a person stood in the organisation from one moment to another.

    since: None when it was so before anybody looked. until: None when it still is. address: a digest of where their
    mail goes, None when it goes nowhere.
    """

    person_id: UUID
    manager_id: UUID | None
    unit_id: UUID
    status: PersonStatus
    address: bytes | None
    since: datetime | None
    until: datetime | None = None

    @property
    def here(self) -> bool:
        return self.status is not PersonStatus.inactive

    @property
    def could_answer(self) -> bool:
        """Was at work, and had an address that an invitation could go to."""
        return self.status is PersonStatus.active and self.address is not None

    def is_like(self, other: "Placement") -> bool:
        """Whether both say the same, whenever it was."""
        return (self.manager_id, self.unit_id, self.status, self.address) == (
            other.manager_id, other.unit_id, other.status, other.address,
        )  # fmt: skip


def known_places(
    standings: Iterable[Placement], place: Callable[[Placement], Place], *, now: datetime, known_for: timedelta
) -> dict[UUID, Place]:
    """The place where each person is known: they held it for `known_for` of the last two times `known_for`.

    Counted in all, not at one moment: what was changed and put back, whenever it was and however short, moves nobody in
    or out. Of two places held equally long, the one that is lower by its text, so that chance decides nothing.
    """
    horizon = now - 2 * known_for
    held: dict[tuple[UUID, Place], timedelta] = defaultdict(timedelta)
    for one in standings:
        since = horizon if one.since is None else max(one.since, horizon)
        until = now if one.until is None else min(one.until, now)
        if until >= since:
            held[one.person_id, place(one)] += until - since
    longest: dict[UUID, Place] = {}
    for (person, where), _ in sorted(held.items(), key=lambda item: (item[1], str(item[0][1]))):
        if held[person, where] >= known_for:
            longest[person] = where
    return longest


def address_digest(address: str) -> bytes:
    """What is kept of an address: enough to tell whether it is the same."""
    return hashlib.sha256(address.encode()).digest()


@dataclass(frozen=True, slots=True)
class ReportedPlacement:
    """What HR says of a person now; `standing` is None for somebody who was erased."""

    person_id: UUID
    standing: Placement | None
    at: datetime


def placement_changes(
    told: Iterable[ReportedPlacement], held: dict[UUID, Placement], *, now: datetime
) -> tuple[dict[UUID, datetime], list[Placement]]:
    """Which standings end, and when; and which begin. `held` are those in force, by person.

    A change counts from when it was made, but neither from the future nor from before what it replaces.
    """
    ended: dict[UUID, datetime] = {}
    begun: list[Placement] = []
    for one in told:
        before = held.get(one.person_id)
        if before is not None and one.standing is not None and before.is_like(one.standing):
            continue
        at = min(one.at, now)
        if before is not None:
            at = max(at, before.since) if before.since is not None else at
            ended[one.person_id] = at
        if one.standing is not None:
            begun.append(
                Placement(
                    one.person_id, one.standing.manager_id, one.standing.unit_id, one.standing.status,
                    one.standing.address, at,
                )
            )  # fmt: skip
    return ended, begun
