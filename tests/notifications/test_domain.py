"""The rules: who is told, what an answer of the server means, when to try again."""

from datetime import timedelta

import pytest

from services.notifications.channels.domain import (
    MAX_ATTEMPTS,
    Accepted,
    DeliveryAttempt,
    NotTried,
    Reason,
    Refused,
    Status,
    Suppressed,
    event_of,
    judge,
    reason_to_stop,
    refusal,
    retry_delay,
)
from services.notifications.kinds.every import KINDS, messages_for
from services.notifications.kinds.kind import Channel, Message
from services.notifications.routing.domain import Recipient, language, reason_to_suppress
from shared.events import (
    EnrolmentApproved,
    EnrolmentRequested,
    NotificationDeferred,
    NotificationFailed,
    NotificationSent,
)
from shared.ids import new_id
from tests.notifications.factories import NOW, invitation


def attempt(number: int = 1, kind: str = "enrolment_active", series_from: int = 0) -> DeliveryAttempt:
    return DeliveryAttempt(new_id(), new_id(), KINDS[kind], Channel.MAIL, new_id(), number, series_from)


def test_an_invitation_goes_to_its_respondent_and_keeps_ids_only() -> None:
    fact = invitation(new_id(), new_id())
    (message,) = messages_for(fact)
    assert message.recipient_id == fact.respondent_id
    assert message.pointless_after == fact.closes_at
    assert message.params == {
        "invitation_id": str(fact.invitation_id),
        "person_id": str(fact.subject_person_id),
        "group": "peer",
    }


def enrolment_fact() -> dict[str, object]:
    return {f"{what}_id": new_id() for what in ("enrolment", "person", "cohort", "programme", "unit", "manager")}


def test_a_request_goes_to_the_manager_and_an_approval_to_nobody() -> None:
    fact = enrolment_fact()
    requested, *more = messages_for(
        EnrolmentRequested.model_validate(fact | {"approve_before": NOW + timedelta(days=7)})
    )
    assert more == []
    assert requested.recipient_id == fact["manager_id"]
    assert list(messages_for(EnrolmentApproved.model_validate(fact))) == []


@pytest.mark.parametrize(
    ("recipient", "revoked", "reason"),
    [
        (Recipient(new_id(), "active", "sv", has_address=True), False, None),
        (Recipient(new_id(), "on_leave", "sv", has_address=True), False, None),
        (Recipient(new_id(), "inactive", "sv", has_address=True), False, Reason.RECIPIENT_INACTIVE),
        (Recipient(new_id(), "active", "sv", has_address=False), False, Reason.NO_ADDRESS),
        (Recipient(new_id(), "active", "sv", has_address=True), True, Reason.INVITATION_REVOKED),
        (None, False, Reason.NO_RECIPIENT),
    ],
)
def test_who_cannot_or_should_not_be_reached_is_not_written_to(
    recipient: Recipient | None, revoked: bool, reason: Reason | None
) -> None:
    message = Message(KINDS["invitation"], new_id(), {})
    assert reason_to_suppress(message, recipient, revoked=revoked) is reason


@pytest.mark.parametrize(("locale", "expected"), [("sv", "sv"), ("sv-FI", "sv"), ("en-GB", "en"), ("de", "en")])
def test_swedish_to_swedes_and_english_to_everybody_else(locale: str, expected: str) -> None:
    assert language(locale) == expected


@pytest.mark.parametrize(
    ("code", "reason", "permanent"),
    [
        (421, Reason.SERVER_BUSY, False),
        (451, Reason.SERVER_BUSY, False),
        (452, Reason.MAILBOX_FULL, False),
        (550, Reason.MAILBOX_UNAVAILABLE, True),
        (552, Reason.MAILBOX_FULL, True),
        (554, Reason.MESSAGE_REFUSED, True),
    ],
)
def test_a_4xx_is_for_now_and_a_5xx_for_good(code: int, reason: Reason, permanent: bool) -> None:
    assert refusal(code) == Refused(reason, code, permanent=permanent)


def test_retries_grow_from_half_a_minute_to_six_hours_and_spread_by_a_quarter() -> None:
    seconds = [retry_delay(number, jitter=0).total_seconds() for number in range(1, MAX_ATTEMPTS)]
    assert seconds == [30, 120, 600, 3600, 21600, 21600, 21600]
    assert retry_delay(1, jitter=1) == timedelta(seconds=37.5)


def test_the_last_attempt_that_is_refused_for_now_fails_for_good() -> None:
    busy = Refused(Reason.SERVER_BUSY, 451)
    assert judge(attempt(MAX_ATTEMPTS - 1), busy, now=NOW, jitter=0).status is Status.DEFERRED
    assert judge(attempt(MAX_ATTEMPTS), busy, now=NOW, jitter=0).status is Status.FAILED


def test_a_retry_by_hand_begins_the_delays_and_their_limit_anew_and_counts_attempts_on() -> None:
    busy = Refused(Reason.SERVER_BUSY, 451)
    first, last = (attempt(8 + number, series_from=8) for number in (1, 8))
    again = judge(first, busy, now=NOW, jitter=0)
    assert (again.status, again.next_attempt_at) == (Status.DEFERRED, NOW + timedelta(seconds=30))
    given_up = judge(last, busy, now=NOW, jitter=0)
    assert given_up.status is Status.FAILED
    event = event_of(last, given_up)
    assert isinstance(event, NotificationFailed)
    assert event.attempt == 16


def test_what_was_not_tried_costs_no_attempt_and_is_told_to_nobody() -> None:
    verdict = judge(attempt(), NotTried(), now=NOW, jitter=0)
    assert (verdict.status, verdict.gives_attempt_back) == (Status.QUEUED, True)
    assert judge(attempt(3), NotTried(), now=NOW, jitter=0).status is Status.DEFERRED
    assert event_of(attempt(), verdict) is None


def test_only_silence_after_the_mail_was_handed_over_counts_as_a_possible_second_copy() -> None:
    lost = judge(attempt(), Refused(Reason.CONNECTION_LOST, uncertain=True), now=NOW, jitter=0)
    assert lost.counts_as_resend
    assert not judge(attempt(), Refused(Reason.TIMEOUT), now=NOW, jitter=0).counts_as_resend


@pytest.mark.parametrize("kind", ["invitation", "results_released", "round_withheld"])
def test_events_about_round_mail_name_no_recipient(kind: str) -> None:
    event = event_of(attempt(kind=kind), judge(attempt(kind=kind), Accepted(), now=NOW, jitter=0))
    assert isinstance(event, NotificationSent)
    assert event.recipient_id is None


def test_each_ending_has_its_event() -> None:
    tried = attempt(2)
    busy = judge(tried, Refused(Reason.SERVER_BUSY, 451), now=NOW, jitter=0)
    gone = judge(tried, Refused(Reason.MAILBOX_UNAVAILABLE, 550, permanent=True), now=NOW, jitter=0)
    deferred, failed = event_of(tried, busy), event_of(tried, gone)
    assert isinstance(deferred, NotificationDeferred)
    assert (deferred.reason, deferred.next_attempt_at) == ("server_busy", NOW + timedelta(minutes=2))
    assert isinstance(failed, NotificationFailed)
    assert (failed.reason, failed.recipient_id, failed.attempt) == ("mailbox_unavailable", tried.recipient_id, 2)
    assert event_of(tried, judge(tried, Suppressed(Reason.TOO_LATE), now=NOW, jitter=0)) is None


def test_a_queued_message_is_looked_at_again_before_it_is_sent() -> None:
    fine = {"revoked": False, "status": "active", "address": "a@example.org", "pointless_after": None, "now": NOW}
    assert reason_to_stop(KINDS["invitation"], **fine) is None  # type: ignore[arg-type]
    for change, reason in (
        ({"revoked": True}, Reason.INVITATION_REVOKED),
        ({"pointless_after": NOW}, Reason.TOO_LATE),
        ({"status": "inactive"}, Reason.RECIPIENT_INACTIVE),
        ({"status": None}, Reason.RECIPIENT_INACTIVE),
        ({"address": None}, Reason.NO_ADDRESS),
    ):
        assert reason_to_stop(KINDS["invitation"], **(fine | change)) is reason  # type: ignore[arg-type]
