"""How an attempt to deliver can end, and what then becomes of the delivery."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from services.notifications.kinds.kind import Channel, Kind
from shared.events import Event, NotificationDeferred, NotificationFailed, NotificationSent, PersonStatus

MAX_ATTEMPTS = 8
RETRY_DELAYS = (
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
)


class Status(StrEnum):
    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    SENT = "sent"
    FAILED = "failed"
    SUPPRESSED = "suppressed"


class Reason(StrEnum):
    """Why a message was not sent, or not yet. Stable codes: they stand in events, and the pages explain them."""

    NO_RECIPIENT = "no_recipient"
    RECIPIENT_INACTIVE = "recipient_inactive"
    NO_ADDRESS = "no_address"
    BAD_ADDRESS = "bad_address"
    INVITATION_REVOKED = "invitation_revoked"
    APPROVER_CHANGED = "approver_changed"
    TOO_LATE = "too_late"
    MAILBOX_UNAVAILABLE = "mailbox_unavailable"
    MAILBOX_FULL = "mailbox_full"
    MESSAGE_REFUSED = "message_refused"
    SERVER_BUSY = "server_busy"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    INTERNAL_ERROR = "internal_error"
    RETRY_REQUESTED = "retry_requested"


class ServerFault(StrEnum):
    """Why no mail at all can be handed over just now. Stable codes: the API has them, and the page explains them."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    LOGIN = "login"
    GREETING = "greeting"
    SENDER_REFUSED = "sender_refused"
    CONNECTION_LOST = "connection_lost"
    TIMEOUT = "timeout"
    SERVER_BUSY = "server_busy"


class NotFailedError(Exception):
    """Only a failed message can be tried again by hand; this one is {status}."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"Only a failed message can be tried again by hand; this one is {status}.")
        self.status = status


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server has taken responsibility for the mail."""


@dataclass(frozen=True, slots=True)
class Refused:
    """This attempt failed. `uncertain`: the server may have taken the mail although it did not say so."""

    reason: Reason
    reply_code: int | None = None
    permanent: bool = False
    uncertain: bool = False


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Nobody should get this any more."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class NotTried:
    """Given back untouched: the mail server is away or the worker is stopping. Costs no attempt."""


Outcome = Accepted | Refused | Suppressed | NotTried


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """A delivery as it was claimed for one attempt.

    number: from 1 and never again the same, so that no two attempts tell the same. series_from: attempts made before
    somebody asked for a new series. public_id: what events call the message that is delivered; for mail about a round a
    random one, since our ids sort by time and would tell which messages were made together.
    """

    id: UUID
    public_id: UUID
    kind: Kind
    channel: Channel
    recipient_id: UUID | None
    number: int
    series_from: int = 0

    @property
    def number_in_series(self) -> int:
        """From 1: what the delays between attempts and their limit go by."""
        return self.number - self.series_from


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a message after an attempt. `next_attempt_at` is set when it is to be tried again."""

    status: Status
    reason: Reason | None = None
    reply_code: int | None = None
    next_attempt_at: datetime | None = None
    counts_as_resend: bool = False
    gives_attempt_back: bool = False


def reason_to_stop(
    kind: Kind, *, revoked: bool, status: str | None, address: str | None, pointless_after: datetime | None,
    now: datetime,
) -> Reason | None:  # fmt: skip
    """Why a message that was queued must not be sent any more, or None. `status` is None for somebody erased."""
    if revoked:
        return Reason.INVITATION_REVOKED
    if pointless_after is not None and now >= pointless_after:
        return Reason.TOO_LATE
    if status is None or (status == PersonStatus.inactive and not kind.also_to_whoever_left):
        return Reason.RECIPIENT_INACTIVE
    return None if address else Reason.NO_ADDRESS


def judge(attempt: DeliveryAttempt, outcome: Outcome, *, now: datetime, jitter: float) -> Verdict:
    """What follows from `outcome`. `jitter` in 0..1 spreads the retries of mails that failed together."""
    match outcome:
        case Accepted():
            return Verdict(Status.SENT)
        case Suppressed(reason):
            return Verdict(Status.SUPPRESSED, reason)
        case NotTried():
            tried_before = attempt.number > 1
            status = Status.DEFERRED if tried_before else Status.QUEUED
            return Verdict(status, next_attempt_at=now, gives_attempt_back=True)
        case Refused(reason, code, permanent, uncertain):
            if permanent or attempt.number_in_series >= MAX_ATTEMPTS:
                return Verdict(Status.FAILED, reason, code)
            later = now + retry_delay(attempt.number_in_series, jitter)
            return Verdict(Status.DEFERRED, reason, code, later, counts_as_resend=uncertain)


def retried(status: Status, *, now: datetime) -> Verdict:
    """A failed message given a new series of attempts by hand. Raises NotFailedError."""
    if status is not Status.FAILED:
        raise NotFailedError(status)
    return Verdict(Status.DEFERRED, Reason.RETRY_REQUESTED, next_attempt_at=now)


def retry_delay(attempt: int, jitter: float) -> timedelta:
    """How long to wait after attempt number `attempt` (from 1) failed: 30 s growing to 6 h, up to a quarter more."""
    return RETRY_DELAYS[min(attempt, len(RETRY_DELAYS)) - 1] * (1 + 0.25 * jitter)


def event_of(attempt: DeliveryAttempt, verdict: Verdict) -> Event | None:
    """The public fact, if there is one to tell. Round mail names no recipient."""
    about: dict[str, Any] = {
        "notification_id": attempt.public_id,
        "kind": attempt.kind.name,
        "channel": attempt.channel.value,
        "attempt": attempt.number,
        "recipient_id": None if attempt.kind.is_private else attempt.recipient_id,
    }
    reason = (verdict.reason or Reason.INTERNAL_ERROR).value
    match verdict.status:
        case Status.SENT:
            return NotificationSent(**about)
        case Status.FAILED:
            return NotificationFailed(**about, reason=reason)
        case Status.DEFERRED if verdict.next_attempt_at and not verdict.gives_attempt_back:
            return NotificationDeferred(**about, reason=reason, next_attempt_at=verdict.next_attempt_at)
        case _:
            return None


def refusal(reply_code: int) -> Refused:
    """What a mail server's reply means for this message (RFC 5321 section 4.2.1: 4yz transient, 5yz permanent)."""
    permanent = reply_code >= 500
    if reply_code in (452, 552):
        reason = Reason.MAILBOX_FULL
    elif reply_code in (550, 551, 553):
        reason = Reason.MAILBOX_UNAVAILABLE
    elif permanent:
        reason = Reason.MESSAGE_REFUSED
    else:
        reason = Reason.SERVER_BUSY
    return Refused(reason, reply_code, permanent=permanent)
