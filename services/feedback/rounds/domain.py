"""Rounds: who is asked, when it is counted, when it ends. Pure rules; randomness and time come as arguments."""

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from shared.clock import end_of_day
from shared.events import (
    MOST_PEERS,
    Bucket,
    FeedbackPlan,
    Group,
    MilestoneReached,
    PersonStatus,
    Practice,
)

MOST_LOST = 0.25  # of those who would be asked, so that the others still are


class RoundState(StrEnum):
    """Closing opens, counts and releases or withholds in one transaction, so a round is never seen merely closed."""

    open = "open"
    released = "released"
    withheld = "withheld"


class Ending(StrEnum):
    """Why a round ends before its time without being read."""

    milestone_undone = "milestone_undone"
    enrolment_withdrawn = "enrolment_withdrawn"
    subject_left = "subject_left"


class NotOpened(StrEnum):
    """Why a milestone that plans a round opens none: it is withheld from the start."""

    asked_recently = "asked_recently"
    nobody_to_ask = "nobody_to_ask"
    not_known_yet = "not_known_yet"
    team_changed = "team_changed"


@dataclass(frozen=True, slots=True)
class Colleague:
    """The subject of a round or their manager, as they are today."""

    id: UUID
    status: PersonStatus
    has_address: bool
    time_zone: str

    @property
    def reachable(self) -> bool:
        """Can be asked: is at work, and has an address that an invitation can go to."""
        return self.status is PersonStatus.active and self.has_address

    @property
    def has_left(self) -> bool:
        """Nobody is asked about them any more; somebody on leave may still reach a milestone."""
        return self.status is PersonStatus.inactive


@dataclass(frozen=True, slots=True)
class TeamMember:
    """Somebody who has long belonged where they are looked for, whatever became of them since.

    reachable: an invitation reaches them today.
    """

    id: UUID
    reachable: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The people around one subject, as it has long been: the same manager, the same unit, and who reports to them.

    known: the subject themselves has long had a manager (or none) and a unit.
    """

    subject: Colleague
    manager: Colleague | None
    team: Sequence[TeamMember]
    unit: Sequence[TeamMember]
    led: Sequence[TeamMember]
    known: bool = True


@dataclass(frozen=True, slots=True)
class Respondent:
    person_id: UUID
    group: Group


@dataclass(frozen=True, slots=True)
class Chosen:
    """Whom a round asks, or why it cannot ask anybody."""

    people: Sequence[Respondent] = ()
    obstacle: NotOpened | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """A round as its life needs it; ids are opaque, times UTC."""

    id: UUID
    kind: str
    subject_person_id: UUID
    enrolment_id: UUID
    milestone: str
    cohort_id: UUID
    programme_id: UUID
    unit_id: UUID
    practices: tuple[Practice, ...]
    groups: tuple[Group, ...]
    instrument_version: int
    k: int
    opened_at: datetime
    closes_at: datetime


def plan_round(
    reached: MilestoneReached,
    plan: FeedbackPlan,
    round_id: UUID,
    chosen: Chosen,
    *,
    resting: Collection[Practice] = (),
    time_zone: str,
    k: int,
    version: int,
    now: datetime,
) -> tuple[Round, NotOpened | None]:
    """The round that a milestone opens, or as it would have been, and why it is not.

    `resting`: practices that were asked about this person lately. Two reports on one practice from nearly the same
    people could be subtracted, so a practice is left out until it has rested. The round ends with a day of the
    subject's (`time_zone`). `k` and the instrument's `version` are locked here for the round's whole life.
    """
    fresh = tuple(practice for practice in reached.practices if practice not in resting)
    obstacle = chosen.obstacle or (None if fresh else NotOpened.asked_recently)
    asked = {respondent.group for respondent in chosen.people} or set(plan.groups)
    round_ = Round(
        id=round_id,
        kind=plan.kind,
        subject_person_id=reached.person_id,
        enrolment_id=reached.enrolment_id,
        milestone=reached.milestone,
        cohort_id=reached.cohort_id,
        programme_id=reached.programme_id,
        unit_id=reached.unit_id,
        practices=fresh or reached.practices,
        groups=tuple(group for group in Group if group in asked),
        instrument_version=version,
        k=k,
        opened_at=now,
        closes_at=end_of_day(now + timedelta(days=plan.days_open), time_zone) if obstacle is None else now,
    )
    return round_, obstacle


def choose_respondents(around: Surroundings, groups: Collection[Group], *, k: int, rng: random.Random) -> Chosen:
    """Whom a round asks: people long known around the subject, each in one group only, nobody in vain.

    Peers share the subject's manager; when they are fewer than k, the rest of the unit joins them. At most MOST_PEERS
    are drawn by lot. A group that is smaller than k is not asked at all, since its answers could never be shown.
    Somebody who could be in two groups answers as manager before led before peer.

    A group of which too many can no longer be reached is not narrowed to the others: nobody is asked. Whoever sends HR
    files could otherwise choose whose answers remain.
    """
    subject, manager = around.subject, around.manager
    if subject.has_left:
        return Chosen(obstacle=NotOpened.nobody_to_ask)
    if not around.known and set(groups) - {Group.self}:
        return Chosen(obstacle=NotOpened.not_known_yet)
    chosen = [Respondent(subject.id, Group.self)] if Group.self in groups and subject.has_address else []
    if manager is not None and Group.manager in groups and manager.reachable:
        chosen.append(Respondent(manager.id, Group.manager))
    taken = {subject.id} | ({manager.id} if manager is not None else set())
    led = _free(around.led, taken)
    taken |= {person.id for person in led}
    team = _free(around.team, taken)
    others = _free(around.unit, {*taken, *(person.id for person in team)}) if len(team) < k else []
    asks_led = Group.led in groups and len(led) >= k
    asks_peers = Group.peer in groups and len(team) + len(others) >= k
    if (asks_led and has_shrunk(led, k)) or (asks_peers and has_shrunk(team + others, k)):
        return Chosen(obstacle=NotOpened.team_changed)
    if asks_led:
        chosen += [Respondent(person, Group.led) for person in _reachable(led)]
    if asks_peers:
        chosen += [Respondent(person, Group.peer) for person in _draw(team, others, max(MOST_PEERS, k), rng)]
    return Chosen(chosen) if chosen else Chosen(obstacle=NotOpened.nobody_to_ask)


def has_shrunk(people: Sequence[TeamMember], k: int) -> bool:
    """Whether too many of a group left, or moved their mail, lately: under k remain, or more than a quarter went."""
    lost = sum(not person.reachable for person in people)
    return len(people) - lost < k or lost > MOST_LOST * len(people)


def _draw(team: Sequence[TeamMember], others: Sequence[TeamMember], most: int, rng: random.Random) -> list[UUID]:
    """Of the team, and after it of the others, as many as may be asked: by lot."""
    first, then = _reachable(team), _reachable(others)
    drawn = rng.sample(first, min(most, len(first)))
    return drawn + rng.sample(then, min(most - len(drawn), len(then)))


def _reachable(people: Iterable[TeamMember]) -> list[UUID]:
    return [person.id for person in people if person.reachable]


def is_small_team(subject_id: UUID, team: Iterable[UUID], k: int) -> bool:
    """Whether the people with the same manager may be too few, so that the rest of the unit is needed."""
    return len(set(team) - {subject_id}) < k


def _free(people: Iterable[TeamMember], taken: Collection[UUID]) -> list[TeamMember]:
    free = {person.id: person for person in people if person.id not in taken}
    return [free[id_] for id_ in sorted(free)]


def next_tick(now: datetime, every: timedelta) -> datetime:
    """The next moment of the fixed clock on which rounds are counted, the same for all of them.

    Counting at set moments, and never when somebody answers, keeps the time of an answer out of every event.
    """
    since = now - datetime(1970, 1, 1, tzinfo=UTC)
    return now + (every - since % every)


@dataclass(frozen=True, slots=True)
class Count:
    """Where an open round stands at a tick.

    narrowed: somebody who was asked has left since.
    """

    bucket: Bucket  # as last announced
    used: int
    waiting: int
    narrowed: bool = False


def new_bucket(count: Count) -> Bucket | None:
    """The bucket to announce, or None when it is the one already announced.

    None also when the round is complete: it closes at this tick, and with a last count that would tell how many of
    those who were asked declined, or that nobody did. And None from the moment on at which somebody left: whoever sends
    HR files could have everybody leave but one, and see by the next count whether that one answers.
    """
    bucket = Bucket.of(count.used)
    return None if bucket == count.bucket or count.narrowed or is_complete(count) else bucket


def is_complete(count: Count) -> bool:
    """Everybody has answered or declined. Of a round that somebody left nothing is told before its time."""
    return count.waiting == 0 and not count.narrowed


def ended_since(reached: MilestoneReached, sequence: int, endings: Mapping[tuple[UUID, str], int]) -> bool:
    """Whether a later event undid this milestone or withdrew the enrolment; `endings` as the store keeps them."""
    last = max(endings.get((reached.enrolment_id, key), -1) for key in (reached.milestone, ""))
    return last > sequence


def coarse_date(now: datetime) -> date:
    """The only time kept with answers: the day their round closed, the same for all of them."""
    return now.astimezone(UTC).date()
