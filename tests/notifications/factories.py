"""Values for notifications' tests: people, facts, claimed mails."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from opentelemetry.context import Context

from services.notifications.channels.domain import DeliveryAttempt
from services.notifications.channels.mail.compose import Composer
from services.notifications.channels.store.queue import Mail
from services.notifications.kinds.every import KINDS
from services.notifications.kinds.kind import Channel
from shared.events import Event, Group, InvitationIssued
from shared.ids import new_id
from shared.messaging.handler import Received

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
LINK_SECRET = b"a secret that only feedback and notifications hold"
COMPOSER = Composer(
    public_url="https://medled.example.org",
    link_secret=LINK_SECRET,
    sender="no-reply@example.org",
    sender_name="Medled",
    reply_to=None,
)


def received(event: Event, *, event_id: UUID | None = None, context: Context | None = None) -> Received[Any]:
    """`event` as if it came from Kafka."""
    return Received(
        id=event_id or new_id(),
        type=event.type,
        source="/medled/tests",
        subject=event.subject,
        time=NOW,
        sequence=1,
        unit=event.unit,
        programme=event.programme,
        correlation_id="undertaking",
        causation_id=None,
        data=event,
        topic=event.topic,
        partition=0,
        offset=0,
        key=event.key,
        context=context or Context(),
    )


def invitation(respondent_id: UUID, subject_id: UUID, group: Group = Group.peer, **changes: Any) -> InvitationIssued:
    """An invitation to a round that is open for two weeks."""
    values: dict[str, Any] = {
        "invitation_id": new_id(),
        "round_id": new_id(),
        "respondent_id": respondent_id,
        "subject_person_id": subject_id,
        "group": group,
        "closes_at": NOW + timedelta(days=14),
        "unit_id": new_id(),
        "programme_id": new_id(),
    }
    return InvitationIssued(**(values | changes))


def mail(kind: str = "invitation", **changes: Any) -> Mail:
    """A claimed mail to Åsa about Kim."""
    notification_id = new_id()
    made = Mail(
        attempt=DeliveryAttempt(notification_id, uuid4(), KINDS[kind], Channel.MAIL, new_id(), 1),
        locale="sv",
        params={
            "invitation_id": str(new_id()),
            "round_id": str(new_id()),
            "enrolment_id": str(new_id()),
            "group": "peer",
        },
        pointless_after=NOW + timedelta(days=14),
        message_id=f"<{notification_id}@example.org>",
        caused_by=new_id(),
        correlation_id="undertaking",
        traceparent=None,
        tracestate=None,
        address="asa.oberg@example.org",
        recipient_name="Åsa",
        recipient_status="active",
        time_zone="Europe/Stockholm",
        person="Kim Larsson",
        programme={"sv": "Leda möten", "en": "Leading meetings"},
        cohort="Våren 2026",
        units=["Hemtjänst"],
        revoked=False,
    )
    return replace(made, **changes)
