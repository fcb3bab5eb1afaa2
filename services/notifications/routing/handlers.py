"""Facts in, messages queued."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from services.notifications.kinds.every import EVERY, messages_for
from services.notifications.kinds.kind import Kind, Message
from services.notifications.routing import store
from services.notifications.routing.domain import Recipient, language, reason_to_suppress
from services.notifications.settings import NotificationsSettings
from shared.events import (
    CohortOpened,
    EnrolmentApproverChanged,
    InvitationIssued,
    InvitationRevoked,
    ProgrammePublished,
)
from shared.events.vocabulary import CONFLICT
from shared.ids import new_id
from shared.messaging.handler import Apply, Handler, Parked, Received, Rejected, Unapplied
from shared.observability.tracing import traceparent_of
from shared.postgres.pool import Connection
from shared.runtime.declaration import NeedsSettings
from shared.timers import Due, TimerHandler, schedule

Pair = tuple[Received[Any], Message]

FORGET = "notifications.forget_round_mail"  # the migration schedules it the first time
_FORGET_BATCH = 10_000
_EVERY = timedelta(days=1)


def queue_mail(message_id_domain: str, kinds: Sequence[Kind] = EVERY) -> Apply:
    """`message_id_domain` is what follows the @ of every Message-ID."""

    async def apply(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> Sequence[Unapplied]:
        refused = await _contradicting(conn, events, now)
        gone = {answer.event_id for answer in refused}
        events = [event for event in events if event.id not in gone]
        revoked = [event.data.invitation_id for event in events if isinstance(event.data, InvitationRevoked)]
        if revoked:
            await store.remember_revoked(conn, revoked, now=now)
            await store.suppress_invitations(conn, revoked, now=now)
        pairs = [(event, message) for event in events for message in messages_for(event.data, kinds)]
        known = await _look_up(conn, pairs)
        new = [_row(event, message, known, message_id_domain) for event, message in pairs if not known.lacks(message)]
        if new:
            await store.queue(conn, new, now=now)
        approvers = {  # the last one of each request, and after what this batch has queued for those before
            event.data.enrolment_id: event.data.manager_id
            for event in sorted(events, key=lambda event: event.sequence)
            if isinstance(event.data, EnrolmentApproverChanged)
        }
        if approvers:
            await store.suppress_approvals_of_others(conn, approvers, now=now)
        # What one message of a fact waits for holds up no other; those are found queued when the fact comes again.
        parked = {event.id: lack for event, message in pairs if (lack := known.lacks(message))}
        return [*refused, *(Parked(event_id, lack) for event_id, lack in parked.items())]

    return apply


def handlers() -> list[Handler]:
    facts = dict.fromkeys(fact for kind in EVERY for fact in kind.causes)
    return [
        Handler("notifications.routing.keep_titles", (ProgrammePublished, CohortOpened), _keep_titles, "latest_state"),
        Handler(
            "notifications.routing.queue_mail",
            (*facts, InvitationRevoked),
            NeedsSettings[NotificationsSettings](lambda settings, _: queue_mail(settings.message_id_domain)),
            "every_fact",
            effect="messages.caused_by/kind/recipient_id",
            begins="now",  # whatever it is to take besides, nobody wants mail about what happened years ago
            no_replay="mail that was sent would be sent again",
        ),
    ]


def timers() -> dict[str, TimerHandler]:
    return {FORGET: NeedsSettings[NotificationsSettings](lambda settings, _: partial(forget, settings.round_mail_kept))}


async def forget(keep: timedelta, conn: Connection, _due: Sequence[Due], now: datetime) -> None:
    """Reduce what has been known of mail about rounds for as long as `keep` to numbers."""
    private = [kind for kind in EVERY if kind.is_private]
    gone = await store.forget_messages(conn, private, now - keep, _FORGET_BATCH, now=now)
    await store.forget_invitations(conn, now - keep, now=now)
    await schedule(conn, FORGET, "daily", now if gone == _FORGET_BATCH else now + _EVERY)


async def _keep_titles(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:  # noqa: ARG001
    programmes = {e.data.programme_id: e.data.title for e in events if isinstance(e.data, ProgrammePublished)}
    cohorts = {e.data.cohort_id: e.data.name for e in events if isinstance(e.data, CohortOpened)}
    if programmes:
        await store.keep_programmes(conn, {id_: title.model_dump() for id_, title in programmes.items()})
    if cohorts:
        await store.keep_cohorts(conn, cohorts)


async def _contradicting(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> list[Rejected]:
    """What says of an invitation something else than the event that issued it.

    That event is remembered before anything else, so also while it waits for a person who is not known yet.
    """
    issuing = [event for event in events if isinstance(event.data, InvitationIssued)]
    revoking = [event for event in events if isinstance(event.data, InvitationRevoked)]
    known = {}
    if issuing:
        known = await store.remember_issued(
            conn,
            [
                store.Issued(event.data.invitation_id, event.data.round_id, event.id, event.data.closes_at)
                for event in issuing
            ],
            now=now,
        )
    refused = [
        Rejected(event.id, CONFLICT, "another event issued this invitation before")
        for event in issuing
        if known[event.data.invitation_id][0] != event.id
    ]
    if revoking:
        known |= await store.issued(conn, [event.data.invitation_id for event in revoking])
    return refused + [
        Rejected(event.id, CONFLICT, "the invitation is one to another round")
        for event in revoking
        if known.get(event.data.invitation_id, (None, None))[1] not in (None, event.data.round_id)
    ]


@dataclass(slots=True)
class _Known:
    """What the projections know of everything a batch refers to."""

    recipients: dict[UUID, Recipient] = field(default_factory=dict)
    programmes: set[UUID] = field(default_factory=set)
    cohorts: set[UUID] = field(default_factory=set)
    revoked: set[UUID] = field(default_factory=set)

    def lacks(self, message: Message) -> str | None:
        """The first thing the message needs and nobody has told us of yet, as `person:<id>`."""
        known = {"person": self.recipients, "programme": self.programmes, "cohort": self.cohorts}
        return next((f"{what}:{id_}" for what, id_ in message.needs() if id_ not in known[what]), None)


async def _look_up(conn: Connection, pairs: Sequence[Pair]) -> _Known:
    needs: dict[str, set[UUID]] = {"person": set(), "programme": set(), "cohort": set()}
    for _, message in pairs:
        for what, id_ in message.needs():
            needs[what].add(id_)
    invitations = {UUID(m.params["invitation_id"]) for _, m in pairs if "invitation_id" in m.params}
    return _Known(
        recipients=await store.recipients(conn, needs["person"]) if needs["person"] else {},
        programmes=await store.known_programmes(conn, needs["programme"]) if needs["programme"] else set(),
        cohorts=await store.known_cohorts(conn, needs["cohort"]) if needs["cohort"] else set(),
        revoked=await store.revoked_among(conn, invitations) if invitations else set(),
    )


def _row(event: Received[Any], message: Message, known: _Known, message_id_domain: str) -> store.NewMessage:
    recipient = known.recipients[message.recipient_id] if message.recipient_id else None
    invitation = message.params.get("invitation_id")
    is_revoked = invitation is not None and UUID(invitation) in known.revoked
    reason = reason_to_suppress(message, recipient, revoked=is_revoked)
    traceparent, tracestate = traceparent_of(event.context)
    return store.NewMessage(
        id=new_id(),
        public_id=uuid4() if message.kind.is_private else None,
        kind=message.kind,
        recipient_id=message.recipient_id,
        locale=language(recipient.locale) if recipient else "en",
        params=message.params,
        pointless_after=message.pointless_after,
        caused_by=event.id,
        correlation_id=event.correlation_id,
        traceparent=traceparent,
        tracestate=tracestate,
        deliveries=[
            store.NewDelivery(
                id=(delivery_id := new_id()),
                channel=channel,
                reason=reason,
                known_address=message.known_address if reason is None else None,
                message_id=f"<{delivery_id}@{message_id_domain}>",
            )
            for channel in message.kind.channels
        ],
    )
