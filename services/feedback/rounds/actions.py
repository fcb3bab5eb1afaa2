"""What becomes of rounds: a milestone opens one; an undoing, a withdrawal or a departure takes it back."""

import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
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
    next_tick,
    plan_round,
)
from services.feedback.rounds.store import invitations as links
from services.feedback.rounds.store import rounds as store
from services.feedback.rounds.store.surroundings import KnownSince
from services.feedback.rounds.store.surroundings import around as look_around
from services.feedback.settings import FeedbackSettings
from shared.events import Event, InvitationIssued, InvitationRevoked, RoundClosed, RoundOpened, RoundWithheld
from shared.ids import new_id, random_id
from shared.messaging import outbox
from shared.messaging.handler import Parked, Received
from shared.postgres.pool import Connection
from shared.security.invitation_tokens import revocation_hash, token_for, token_hash
from shared.timers import schedule_many

CLOSE, COUNT, PRUNE = "feedback.rounds.close", "feedback.rounds.count", "feedback.rounds.prune"

_ROUND_FACT = ("subject_person_id", "enrolment_id", "milestone", "cohort_id", "programme_id", "unit_id")
_OPENING = ("kind", "practices", "groups", "k", "opened_at", "closes_at")

Caused = tuple[Event, Received[Any] | None]


def about(round_: Round) -> dict[str, Any]:
    """The fields that every event of a round carries."""
    return {"round_id": round_.id} | {name: getattr(round_, name) for name in _ROUND_FACT}


class Rounds:
    """Opens rounds and takes them back. Raises ValueError where the settings lack a secret."""

    def __init__(self, settings: FeedbackSettings) -> None:
        self._secrets = settings.secrets
        self._k = settings.feedback_k
        self._rest = settings.rest
        self._known_for = settings.known_for
        self._count_every = settings.count_every
        self._links_kept = settings.links_kept

    async def open(self, conn: Connection, reached: Sequence[Received[Any]], now: datetime) -> list[Parked]:
        """A round for each milestone that has none: one reached, undone and reached again is asked about once.

        Only after a round was withheld may the same milestone open another. A milestone whose round cannot open has
        one that is withheld from the start, so that the co-leader learns why.
        """
        endings = await store.endings_of(conn, {event.data.enrolment_id for event in reached})
        current = _latest([event for event in reached if not ended_since(event.data, event.sequence, endings)])
        standing = await store.keep_standing(conn, {key: event.sequence for key, event in current.items()})
        new = [event for key, event in current.items() if key not in standing]
        subject_ids = {event.data.person_id for event in new}
        around, missing = await look_around(conn, subject_ids, self._k, KnownSince(now, self._known_for))
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

    async def take_back(
        self, conn: Connection, endings: Mapping[tuple[UUID, str], int],
        causes: Mapping[tuple[UUID, str], Received[Any]], now: datetime,
    ) -> None:  # fmt: skip
        """End the open rounds that these endings, by (enrolment, milestone or ''), are about."""
        await store.record_endings(conn, endings)
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

    async def take_back_of(self, conn: Connection, left: Mapping[UUID, Received[Any]], now: datetime) -> None:
        """End the open rounds about people who left, and revoke the invitations that they have."""
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

    def _invite(self, round_: Round, respondent: Respondent) -> links.NewInvitation:
        invitation_id = random_id()
        hashed = token_hash(self._token(invitation_id))
        return links.NewInvitation(invitation_id, round_.id, respondent.person_id, respondent.group, hashed)

    def _token(self, invitation_id: UUID) -> str:
        return token_for(self._secrets.link, invitation_id)


async def forget_links_later(conn: Connection, round_ids: Collection[UUID], at: datetime) -> None:
    """A round has ended: its links are to be forgotten in time. Its other timers find it closed and do nothing."""
    await schedule_many(conn, PRUNE, [(str(round_id), at, {}) for round_id in round_ids])


def _latest(reached: Sequence[Received[Any]]) -> dict[tuple[UUID, str], Received[Any]]:
    """The latest reaching of each milestone, by (enrolment, milestone)."""
    in_order = sorted(reached, key=lambda event: event.sequence)
    return {(event.data.enrolment_id, event.data.milestone): event for event in in_order}


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
