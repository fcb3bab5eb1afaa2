"""What rounds follow: enrolments and people, by their events; the clock that counts, closes and forgets them."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from services.feedback.rounds.actions import CLOSE, COUNT, PRUNE, Caused, Rounds, about
from services.feedback.rounds.closing import Closing
from services.feedback.rounds.domain import (
    is_complete,
    new_bucket,
    next_tick,
)
from services.feedback.rounds.store import invitations as links
from services.feedback.rounds.store import rounds as store
from services.feedback.settings import FeedbackSettings
from services.feedback.teams import handlers as teams
from shared.events import (
    EnrolmentWithdrawn,
    MilestoneReached,
    MilestoneUndone,
    PersonState,
    PersonStatus,
    ResponsesCounted,
)
from shared.messaging import outbox
from shared.messaging.handler import Handler, Parked, Received
from shared.postgres.pool import Connection
from shared.runtime.declaration import NeedsSettings
from shared.timers import Due, TimerHandler, schedule_many


class RoundHandlers:
    """What the handlers need besides their connection: secrets and settings. Raises ValueError for a missing secret."""

    def __init__(self, settings: FeedbackSettings) -> None:
        self._rounds = Rounds(settings)
        self._known_for = settings.known_for
        self._count_every = settings.count_every

    async def follow_enrolments(
        self, conn: Connection, events: Sequence[Received[Any]], now: datetime
    ) -> Sequence[Parked]:
        """Open a round for each reached milestone that plans one; take back what was undone or withdrawn.

        Endings are remembered by the enrolment's sequence, so that the outcome is the same in whatever order they come.
        """
        reached = [event for event in events if isinstance(event.data, MilestoneReached) and _plans_a_round(event.data)]
        endings, causes = _endings(events)
        if endings:
            await self._rounds.take_back(conn, endings, causes, now)
        return await self._rounds.open(conn, reached, now) if reached else ()

    async def follow_people(self, conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
        """Keep who stands where; take back the invitations of people who left, and the open rounds about them."""
        await teams.follow_people(conn, events, now, known_for=self._known_for)
        left = {UUID(event.subject): event for event in events if _has_left(event)}
        if left:
            await self._rounds.take_back_of(conn, left, now)

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


def _plans_a_round(reached: MilestoneReached) -> bool:
    return reached.feedback is not None and bool(reached.practices)


def _has_left(event: Received[Any]) -> bool:
    return event.data is None or event.data.status is PersonStatus.inactive


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
    return {
        CLOSE: NeedsSettings[FeedbackSettings](lambda settings, _: Closing(settings).close),
        COUNT: _bound(RoundHandlers.count),
        PRUNE: _bound(RoundHandlers.prune),
    }


def _bound(method: Callable[..., Awaitable[Any]]) -> NeedsSettings[FeedbackSettings]:
    return NeedsSettings(lambda settings, _: partial(method, RoundHandlers(settings)))
