"""Facts in, messages queued."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from services.notifications.routing import store
from services.notifications.routing.domain import FACTS, Message, Recipient, language, message_for, reason_to_suppress
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
from shared.messaging.handler import Answer, Apply, Handler, Parked, Received, Refused
from shared.observability.tracing import traceparent_of
from shared.postgres.pool import Connection
from shared.runtime.declaration import NeedsSettings

Pair = tuple[Received[Any], Message]


def queue_mail(message_id_domain: str) -> Apply:
    """`message_id_domain` is what follows the @ of every Message-ID."""

    async def apply(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> Sequence[Answer]:
        refused = await _contradicting(conn, events)
        gone = {answer.event_id for answer in refused}
        events = [event for event in events if event.id not in gone]
        revoked = [event.data.invitation_id for event in events if isinstance(event.data, InvitationRevoked)]
        if revoked:
            await store.remember_revoked(conn, revoked)
            await store.suppress_invitations(conn, revoked, now=now)
        pairs = [(event, message) for event in events if (message := message_for(event.data))]
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
        parked = [Parked(event.id, lack) for event, message in pairs if (lack := known.lacks(message))]
        return [*refused, *parked]

    return apply


def handlers() -> list[Handler]:
    return [
        Handler("notifications.routing.keep_titles", (ProgrammePublished, CohortOpened), _keep_titles, "latest_state"),
        Handler(
            "notifications.routing.queue_mail",
            (*FACTS, InvitationRevoked),
            NeedsSettings[NotificationsSettings](lambda settings, _: queue_mail(settings.message_id_domain)),
            "every_fact",
            effect="notifications.caused_by",
        ),
    ]


async def _keep_titles(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:  # noqa: ARG001
    programmes = {e.data.programme_id: e.data.title for e in events if isinstance(e.data, ProgrammePublished)}
    cohorts = {e.data.cohort_id: e.data.name for e in events if isinstance(e.data, CohortOpened)}
    if programmes:
        await store.keep_programmes(conn, {id_: title.model_dump() for id_, title in programmes.items()})
    if cohorts:
        await store.keep_cohorts(conn, cohorts)


async def _contradicting(conn: Connection, events: Sequence[Received[Any]]) -> list[Refused]:
    """What says of an invitation something else than the event that issued it.

    That event is remembered before anything else, so also while it waits for a person who is not known yet.
    """
    issuing = [event for event in events if isinstance(event.data, InvitationIssued)]
    revoking = [event for event in events if isinstance(event.data, InvitationRevoked)]
    known = {}
    if issuing:
        known = await store.remember_issued(
            conn, [(event.data.invitation_id, event.data.round_id, event.id) for event in issuing]
        )
    refused = [
        Refused(event.id, CONFLICT, "another event issued this invitation before")
        for event in issuing
        if known[event.data.invitation_id][0] != event.id
    ]
    if revoking:
        known |= await store.issued(conn, [event.data.invitation_id for event in revoking])
    return refused + [
        Refused(event.id, CONFLICT, "the invitation is one to another round")
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


def _row(event: Received[Any], message: Message, known: _Known, message_id_domain: str) -> store.NewNotification:
    recipient = known.recipients[message.recipient_id] if message.recipient_id else None
    invitation = message.params.get("invitation_id")
    is_revoked = invitation is not None and UUID(invitation) in known.revoked
    reason = reason_to_suppress(message, recipient, revoked=is_revoked)
    notification_id = new_id()
    traceparent, tracestate = traceparent_of(event.context)
    return store.NewNotification(
        id=notification_id,
        public_id=uuid4() if message.kind.is_round_mail else None,
        kind=message.kind,
        recipient_id=message.recipient_id,
        locale=language(recipient.locale) if recipient else "en",
        params=message.params,
        reason=reason,
        pointless_after=message.pointless_after,
        known_address=message.known_address if reason is None else None,
        message_id=f"<{notification_id}@{message_id_domain}>",
        caused_by=event.id,
        correlation_id=event.correlation_id,
        traceparent=traceparent,
        tracestate=tracestate,
    )
