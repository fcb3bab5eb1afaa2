"""What became of each message: `medled.notifications.v1`. Public: no addresses.

Mail about a round names no recipient, and shares no id, correlation, cause or trace with its round (ADR 0004).
"""

from pydantic import Field

from shared.events.event import Event
from shared.events.vocabulary import Code, NotificationId, PersonId, UtcTime, one_of


class NotificationFact(
    Event, topic="medled.notifications.v1", source="/medled/notifications", subject="notification_id"
):
    """About one attempt to deliver one message."""

    notification_id: NotificationId
    kind: Code = Field(
        description="What it was about; consumers accept kinds they do not know.", examples=["enrolment_active"],
        json_schema_extra=one_of("notification_kind"),
    )  # fmt: skip
    channel: Code = Field(
        description="How it went; consumers accept channels they do not know.", examples=["mail"],
        json_schema_extra=one_of("channel"),
    )  # fmt: skip
    attempt: int = Field(ge=1, le=10_000, description="Which attempt this was, from 1.", examples=[1])
    recipient_id: PersonId | None = Field(
        default=None,
        description="The person it was for; null for mail about a round, which nothing in public joins with its round.",
    )


class NotificationSent(NotificationFact, type="medled.notification.sent.v1"):
    """The channel accepted the message."""


class NotificationDeferred(NotificationFact, type="medled.notification.deferred.v1"):
    """It could not be sent now and will be tried again."""

    reason: Code = Field(
        description="Why, a stable code; consumers accept reasons they do not know.", examples=["server_busy"],
        json_schema_extra=one_of("delivery_reason"),
    )  # fmt: skip
    next_attempt_at: UtcTime = Field(description="When it is tried next.")


class NotificationFailed(NotificationFact, type="medled.notification.failed.v1"):
    """It was given up."""

    reason: Code = Field(
        description="Why, a stable code; consumers accept reasons they do not know.", examples=["mailbox_unavailable"],
        json_schema_extra=one_of("delivery_reason"),
    )  # fmt: skip
