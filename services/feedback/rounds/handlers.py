"""Rounds follow the programme: a milestone opens one, an ending or a departure takes it back, a clock counts it."""

import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from services.feedback.ballots.sealing import new_keys
from services.feedback.instruments.instrument import LATEST_VERSION
from services.feedback.rounds.domain import (
    Ending,
    Respondent,
    Round,
    choose_respondents,
    coarse_date,
    ended_since,
    is_complete,
    new_bucket,
    next_tick,
    plan_round,
)
from services.feedback.rounds.store import invitations as links
from services.feedback.rounds.store import rounds as store
from services.feedback.rounds.store.surroundings import Look
from services.feedback.rounds.store.surroundings import around as look_around
from services.feedback.settings import FeedbackSettings
from services.feedback.teams import handlers as teams
from shared.events import (
    EnrolmentWithdrawn,
    Event,
    InvitationIssued,
    InvitationRevoked,
    MilestoneReached,
    MilestoneUndone,
    PersonState,
    PersonStatus,
    ResponsesCounted,
    RoundClosed,
    RoundOpened,
    RoundWithheld,
)
from shared.ids import new_id, random_id
from shared.messaging import outbox
from shared.messaging.handler import Handler, Parked, Received
from shared.postgres.pool import Connection
from shared.runtime.declaration import NeedsSettings
from shared.security.invitation_tokens import revocation_hash, token_for, token_hash
from shared.timers import Due, TimerHandler, schedule_many

CLOSE, COUNT, PRUNE = "feedback.rounds.close", "feedback.rounds.count", "feedback.rounds.prune"

_ROUND_FACT = ("subject_person_id", "enrolment_id", "milestone", "cohort_id", "programme_id", "unit_id")
_OPENING = ("kind", "practices", "groups", "k", "opened_at", "closes_at")

Caused = tuple[Event, Received[Any] | None]


def about(round_: Round) -> dict[str, Any]:
    """The fields that every event of a round carries."""
    return {"round_id": round_.id} | {name: getattr(round_, name) for name in _ROUND_FACT}


class RoundHandlers:
    """What the handlers need besides their connection: secrets and settings. Raises ValueError for a missing secret."""

    def __init__(self, settings: FeedbackSettings) -> None:
        self._secrets = settings.secrets
        self._k = settings.feedback_k
        self._rest = settings.rest
        self._known_for = settings.known_for
        self._count_every = settings.count_every
        self._links_kept = settings.links_kept

    async def follow_enrolments(
        self, conn: Connection, events: Sequence[Received[Any]], now: datetime
    ) -> Sequence[Parked]:
        """Open a round for each reached milestone that plans one; take back what was undone or withdrawn.

        Endings are remembered by the enrolment's sequence, so that the outcome is the same in whatever order they come.
        """
        reached = [event for event in events if isinstance(event.data, MilestoneReached) and _plans_a_round(event.data)]
        endings, causes = _endings(events)
        if endings:
            await store.record_endings(conn, endings)
            await self._take_back(conn, endings, causes, now)
        return await self._open(conn, reached, now) if reached else ()

    async def follow_people(self, conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
        """Keep who stands where; take back the invitations of people who left, and the open rounds about them."""
        await teams.follow_people(conn, events, now, known_for=self._known_for)
        left = {UUID(event.subject): event for event in events if _has_left(event)}
        if not left:
            return
        rounds = await store.lock_open_about(conn, left)  # rounds before invitations, as everybody locks them
        causes = {locked.round.id: left[locked.round.subject_person_id] for locked in rounds}
        await self._end(conn, rounds, Ending.subject_left, causes, now)
        revoked = await links.revoke_of_people(conn, left)
        taken_back = [(revocation_hash(self._token(invitation)), round_id) for invitation, round_id, _ in revoked]
        await links.insert_revocations(conn, taken_back)
        pairs: list[Caused] = [
            (InvitationRevoked(invitation_id=invitation, round_id=round_id), left[person])
            for invitation, round_id, person in revoked
        ]
        await outbox.add_caused(conn, pairs, now=now)

    async def count(self, conn: Connection, due: Sequence[Due], now: datetime) -> None:
        """At a tick of the fixed clock: announce changed buckets, have complete rounds closed, set the next tick."""
        standing = await store.standings(conn, [UUID(one.key) for one in due])
        buckets = {round_.id: bucket for round_, count in standing if (bucket := new_bucket(count))}
        pairs: list[Caused] = [
            (ResponsesCounted(**about(round_), bucket=buckets[round_.id]), None)
            for round_, _ in standing
            if round_.id in buckets
        ]
        await store.announce_buckets(conn, buckets)
        await outbox.add_caused(conn, pairs, now=now)
        running = [(str(round_.id), is_complete(count)) for round_, count in standing if now < round_.closes_at]
        tick = next_tick(now, self._count_every)
        await schedule_many(conn, CLOSE, [(key, now, {}) for key, complete in running if complete])
        await schedule_many(conn, COUNT, [(key, tick, {}) for key, complete in running if not complete])

    async def prune(self, conn: Connection, due: Sequence[Due], now: datetime) -> None:  # noqa: ARG002 - a TimerHandler
        """Forget the links of rounds that ended long ago."""
        await links.forget_links(conn, [UUID(one.key) for one in due])

    async def _open(self, conn: Connection, reached: Sequence[Received[Any]], now: datetime) -> list[Parked]:
        """A round for each milestone that has none: one reached, undone and reached again is asked about once.

        Only after a round was withheld may the same milestone open another. A milestone whose round cannot open has
        one that is withheld from the start, so that the co-leader learns why.
        """
        endings = await store.endings_of(conn, {event.data.enrolment_id for event in reached})
        current = _latest([event for event in reached if not ended_since(event.data, event.sequence, endings)])
        standing = await store.keep_standing(conn, {key: event.sequence for key, event in current.items()})
        new = [event for key, event in current.items() if key not in standing]
        subject_ids = {event.data.person_id for event in new}
        around, missing = await look_around(conn, subject_ids, self._k, Look(now, self._known_for))
        asked_lately = await store.practices_asked(conn, subject_ids, coarse_date(now - self._rest))
        rounds: list[store.NewRound] = []
        invitations: list[links.NewInvitation] = []
        pairs: list[Caused] = []
        for event in new:
            if event.data.person_id not in around:
                continue
            people = around[event.data.person_id]
            plan = event.data.feedback
            chosen = choose_respondents(people, plan.groups, k=self._k, rng=random.SystemRandom())
            resting = asked_lately[event.data.person_id]
            round_, obstacle = plan_round(
                event.data, plan, new_id(), chosen, resting=resting, time_zone=people.subject.time_zone,
                k=self._k, version=LATEST_VERSION, now=now,
            )  # fmt: skip
            if obstacle is not None:
                rounds.append(store.NewRound(round_, None, obstacle, event.id, event.sequence))
                pairs.append((RoundWithheld(**about(round_), reason=obstacle), event))
                continue
            resting |= set(round_.practices)
            keys = new_keys(round_.id, self._secrets.ballot)
            rounds.append(store.NewRound(round_, keys, None, event.id, event.sequence))
            asked = list(chosen.people)
            random.SystemRandom().shuffle(asked)  # mail goes out in this order, for everybody to see
            issued = [self._invite(round_, respondent) for respondent in asked]
            invitations += issued
            pairs.append((RoundOpened(**about(round_), **{name: getattr(round_, name) for name in _OPENING}), event))
            pairs += [(_issued(round_, invitation), event) for invitation in issued]
        await store.insert_rounds(conn, rounds)
        await links.insert_invitations(conn, invitations)
        await outbox.add_caused(conn, pairs, now=now)
        tick = next_tick(now, self._count_every)
        opened = [one.round for one in rounds if one.not_opened is None]
        await schedule_many(conn, CLOSE, [(str(round_.id), round_.closes_at, {}) for round_ in opened])
        await schedule_many(conn, COUNT, [(str(round_.id), tick, {}) for round_ in opened])
        return [
            Parked(event.id, waiting_for=f"person:{missing[event.data.person_id]}")
            for event in new
            if event.data.person_id in missing
        ]

    def _invite(self, round_: Round, respondent: Respondent) -> links.NewInvitation:
        invitation_id = random_id()
        hashed = token_hash(self._token(invitation_id))
        return links.NewInvitation(invitation_id, round_.id, respondent.person_id, respondent.group, hashed)

    def _token(self, invitation_id: UUID) -> str:
        return token_for(self._secrets.link, invitation_id)

    async def _take_back(
        self, conn: Connection, endings: Mapping[tuple[UUID, str], int],
        causes: Mapping[tuple[UUID, str], Received[Any]], now: datetime,
    ) -> None:  # fmt: skip
        undone: dict[Ending, list[store.LockedRound]] = defaultdict(list)
        for locked in await store.lock_open_of_enrolments(conn, endings):
            key = (locked.round.enrolment_id, locked.round.milestone)
            undone[Ending.milestone_undone if key in endings else Ending.enrolment_withdrawn].append(locked)
        for ending, rounds in undone.items():
            by_round = {
                one.round.id: causes.get((one.round.enrolment_id, one.round.milestone))
                or causes[one.round.enrolment_id, ""]
                for one in rounds
            }
            await self._end(conn, rounds, ending, by_round, now)

    async def _end(
        self, conn: Connection, rounds: Sequence[store.LockedRound], ending: Ending,
        causes: Mapping[UUID, Received[Any]], now: datetime,
    ) -> None:  # fmt: skip
        """Close rounds unread: what was answered is destroyed with the key."""
        if not rounds:
            return
        ids = [locked.round.id for locked in rounds]
        revoked = await links.revoke_of_rounds(conn, ids)
        await store.take_ballots(conn, ids)
        await store.finish(conn, store.ended(rounds, ending, coarse_date(now)))
        pairs: list[Caused] = [
            (InvitationRevoked(invitation_id=invitation, round_id=round_id), causes[round_id])
            for invitation, round_id in revoked
        ]
        for locked in rounds:
            cause = causes[locked.round.id]
            pairs.append((RoundClosed(**about(locked.round), reason=ending), cause))
            pairs.append((RoundWithheld(**about(locked.round), reason=ending), cause))
        await outbox.add_caused(conn, pairs, now=now)
        await forget_links_later(conn, ids, now + self._links_kept)


async def forget_links_later(conn: Connection, round_ids: Collection[UUID], at: datetime) -> None:
    """A round has ended: its links are to be forgotten in time. Its other timers find it closed and do nothing."""
    await schedule_many(conn, PRUNE, [(str(round_id), at, {}) for round_id in round_ids])


def _endings(
    events: Sequence[Received[Any]],
) -> tuple[dict[tuple[UUID, str], int], dict[tuple[UUID, str], Received[Any]]]:
    """What was undone or withdrawn, by (enrolment, milestone or ''): the latest sequence, and the event."""
    latest: dict[tuple[UUID, str], Received[Any]] = {}
    for event in events:
        if isinstance(event.data, MilestoneUndone | EnrolmentWithdrawn):
            milestone = event.data.milestone if isinstance(event.data, MilestoneUndone) else ""
            key = (event.data.enrolment_id, milestone)
            if key not in latest or latest[key].sequence < event.sequence:
                latest[key] = event
    return {key: event.sequence for key, event in latest.items()}, latest


def _latest(reached: Sequence[Received[Any]]) -> dict[tuple[UUID, str], Received[Any]]:
    """The latest reaching of each milestone, by (enrolment, milestone)."""
    in_order = sorted(reached, key=lambda event: event.sequence)
    return {(event.data.enrolment_id, event.data.milestone): event for event in in_order}


def _plans_a_round(reached: MilestoneReached) -> bool:
    return reached.feedback is not None and bool(reached.practices)


def _has_left(event: Received[Any]) -> bool:
    return event.data is None or event.data.status is PersonStatus.inactive


def _issued(round_: Round, invitation: links.NewInvitation) -> InvitationIssued:
    return InvitationIssued(
        invitation_id=invitation.id,
        round_id=round_.id,
        respondent_id=invitation.respondent_id,
        subject_person_id=round_.subject_person_id,
        group=invitation.group,
        closes_at=round_.closes_at,
        unit_id=round_.unit_id,
        programme_id=round_.programme_id,
    )


def handlers() -> list[Handler]:
    return [
        Handler(
            name="feedback.rounds.follow_enrolments",
            events=(MilestoneReached, MilestoneUndone, EnrolmentWithdrawn),
            apply=_bound(RoundHandlers.follow_enrolments),
            mode="every_fact",
            effect="rounds.caused_by",
        ),
        Handler(
            name="feedback.rounds.follow_people",
            events=(PersonState,),
            apply=_bound(RoundHandlers.follow_people),
            mode="latest_state",
            no_replay="rounds rest on since when their people are known, which is the moment of each event",
        ),
    ]


def timers() -> dict[str, TimerHandler]:
    return {COUNT: _bound(RoundHandlers.count), PRUNE: _bound(RoundHandlers.prune)}


def _bound(method: Callable[..., Awaitable[Any]]) -> NeedsSettings[FeedbackSettings]:
    return NeedsSettings(lambda settings, _: partial(method, RoundHandlers(settings)))
