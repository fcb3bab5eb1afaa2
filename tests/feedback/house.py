"""A small organisation with one co-leader, and the shortcuts that feedback's tests share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from opentelemetry.context import Context

from services.feedback.instruments.instrument import instrument
from services.feedback.responses import actions
from services.feedback.rounds.actions import CLOSE, COUNT
from services.feedback.rounds.closing import Closing
from services.feedback.rounds.handlers import RoundHandlers
from services.feedback.settings import FeedbackSettings
from shared.events import Event, FeedbackPlan, Group, MilestoneReached, Practice
from shared.ids import new_id, random_id
from shared.messaging.handler import Parked, Received
from shared.postgres.pool import Pool
from shared.postgres.transaction import transaction
from shared.security.invitation_tokens import token_for
from shared.timers import Due
from tests.support.signing_in import PEOPLE

NOW = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
PRACTICES = (Practice.leading_meetings, Practice.improving)
SECRETS: dict[str, Any] = {
    "link_secret": "a link secret only for tests, long enough",
    "ballot_secret": "a ballot secret only for tests, long enough",
}


def received(event: Event, *, sequence: int = 1) -> Received[Any]:
    """An event as the consumer hands it to a handler."""
    return Received(
        id=new_id(), type=event.type, source="/medled/enrolment", subject=event.subject, time=NOW, sequence=sequence,
        unit=event.unit, programme=event.programme, correlation_id="test", causation_id=None, data=event,
        topic=event.topic, partition=0, offset=0, key=event.key, context=Context(),
    )  # fmt: skip


@dataclass
class House:
    """A unit with a manager, a co-leader and `peers`; the handlers as the worker would have them."""

    pool: Pool
    settings: FeedbackSettings
    unit: UUID = field(default_factory=new_id)
    manager: UUID = field(default_factory=random_id)
    co_leader: UUID = field(default_factory=random_id)
    peers: list[UUID] = field(default_factory=list)
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.rounds = RoundHandlers(self.settings)
        self.closing = Closing(self.settings)

    async def move_in(self, *, peers: int = 8) -> None:
        self.peers = [random_id() for _ in range(peers)]
        await self.add_person(self.manager, manager=None, name="Malin")
        await self.add_person(self.co_leader, manager=self.manager, name="Anna")
        for number, peer in enumerate(self.peers):
            await self.add_person(peer, manager=self.manager, name=f"Peer{number}")

    async def add_person(
        self, person: UUID, *, manager: UUID | None, name: str = "Person", locale: str = "sv", login: str | None = None
    ) -> None:
        PEOPLE[login or name.lower()] = person
        await self.pool.execute(
            """
            insert into people
                (id, login, given_name, family_name, email, unit_id, manager_id, status, locale, time_zone)
            values ($1, $2, $3, 'Berg', $4, $5, $6, 'active', $7, 'Europe/Stockholm')
            """,
            person, login or name.lower(), name, f"{name.lower()}@example.org", self.unit, manager, locale,
        )  # fmt: skip
        await self.let_it_last()

    async def let_it_last(self) -> None:
        """Everybody has always stood where they stand in the directory."""
        await self.pool.execute(
            """
            with gone as (delete from standings)
            insert into founding (at) values ('epoch') on conflict do nothing
            """
        )
        await self.pool.execute(
            """
            insert into standings (person_id, since, manager_id, unit_id, status, address)
            select id, 'epoch', manager_id, unit_id, status, sha256(convert_to(nullif(email, ''), 'UTF8')) from people
            """
        )

    def milestone(self, **changes: Any) -> MilestoneReached:
        """The co-leader reached a milestone that asks self, manager and peers for two weeks."""
        groups = changes.pop("groups", (Group.self, Group.manager, Group.peer))
        values: dict[str, Any] = {
            "enrolment_id": new_id(), "person_id": self.co_leader, "cohort_id": new_id(), "programme_id": new_id(),
            "unit_id": self.unit, "milestone": "first_meeting", "practices": PRACTICES,
            "feedback": FeedbackPlan(kind="milestone", groups=groups, days_open=14),
        }  # fmt: skip
        return MilestoneReached.model_validate(values | changes)

    async def handle(self, *events: Received[Any], now: datetime | None = None) -> Sequence[Parked]:
        async with transaction(self.pool) as conn:
            return await self.rounds.follow_enrolments(conn, events, now or self.now)

    def let_practices_rest(self) -> None:
        """Time passes until the same practices may be asked about again, once their rounds are closed."""
        self.now += self.settings.rest + timedelta(days=16)

    async def open_round(self, **changes: Any) -> UUID:
        """A round about the co-leader, opened now."""
        cause = received(self.milestone(**changes))
        await self.handle(cause)
        round_id: UUID = await self.pool.fetchval("select id from rounds where caused_by = $1", cause.id)
        return round_id

    async def tokens(self, round_id: UUID) -> dict[Group, list[str]]:
        """The links' tokens by group, as notifications would derive them."""
        rows = await self.pool.fetch(
            "select id, respondent_group from invited where round_id = $1 order by id", round_id
        )
        tokens: dict[Group, list[str]] = {group: [] for group in Group}
        for row in rows:
            tokens[Group(row["respondent_group"])].append(token_for(self.settings.secrets.link, row["id"]))
        return tokens

    async def answer(
        self, token: str, rating: int | None = 4, *, practices: Sequence[Practice] = PRACTICES,
        now: datetime | None = None,
    ) -> None:  # fmt: skip
        """Rate what asks about `practices` alike; the rest of the form is left at "cannot judge"."""
        async with transaction(self.pool) as conn:
            invited = await actions.find_invitation(conn, token, now or self.now)
            given = answers(None, invited.practices) | answers(rating, practices)
            await actions.answer(conn, token, given, now or self.now)

    async def close(self, round_id: UUID, *, now: datetime | None = None) -> None:
        """Close a round when its time is up, or at another moment."""
        now = now or self.now + timedelta(days=15)
        async with transaction(self.pool) as conn:
            await self.closing.close(conn, [due(CLOSE, round_id, now)], now)

    async def count(self, round_id: UUID, *, now: datetime | None = None) -> None:
        """Count a round an hour on, or at another moment."""
        now = now or self.now + timedelta(hours=1)
        async with transaction(self.pool) as conn:
            await self.rounds.count(conn, [due(COUNT, round_id, now)], now)

    async def events(self, like: str = "%") -> list[str]:
        """Types of what was announced, oldest first."""
        rows = await self.pool.fetch("select type from outbox where type like $1 order by seq", like)
        return [row["type"].removeprefix("medled.").removesuffix(".v1") for row in rows]


def answers(rating: int | None = 4, practices: Sequence[Practice] = PRACTICES) -> dict[str, int | None]:
    """The same rating for every question of a round."""
    return {question.id: rating for question in instrument(1).asking(practices)}


def due(kind: str, round_id: UUID, now: datetime) -> Due:
    return Due(kind, str(round_id), now, {}, 0, Context())
