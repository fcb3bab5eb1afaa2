"""Public facts as the portal receives them, made without a broker."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from opentelemetry.context import Context

from shared import events
from shared.events import Event, Practice
from shared.ids import new_id
from shared.messaging.handler import Received
from shared.observability.tracing import context_from

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def received(event: Event, sequence: int, *, at: datetime = NOW, context: Context | None = None) -> Received[Event]:
    return Received(
        id=new_id(), type=event.type, source="/medled/test", subject=event.subject, time=at, sequence=sequence,
        unit=event.unit, programme=event.programme, correlation_id="c", causation_id=None, data=event,
        topic=event.topic, partition=0, offset=sequence, key=event.key,
        context=context or context_from(f"00-{TRACE_ID}-b7ad6b7169203331-01", None),
    )  # fmt: skip


@dataclass
class Organisation:
    """Ids that facts agree on, and the facts told so far, each aggregate counting its own sequence."""

    unit: UUID = field(default_factory=new_id)
    programme: UUID = field(default_factory=new_id)
    cohort: UUID = field(default_factory=new_id)
    told: list[Received[Event]] = field(default_factory=list)
    _sequences: dict[str, int] = field(default_factory=dict)

    def tell(self, event: Event) -> Received[Event]:
        sequence = self._sequences[event.subject] = self._sequences.get(event.subject, 0) + 1
        fact = received(event, sequence, at=NOW + timedelta(seconds=len(self.told)))
        self.told.append(fact)
        return fact

    def catalogue(self) -> None:
        title = events.Title(sv="Leda möten", en="Leading meetings")
        milestone = events.Milestone(
            key="first_meeting", title=events.Title(sv="Första mötet", en="First meeting"),
            practices=(Practice.leading_meetings,),
        )  # fmt: skip
        self.tell(events.UnitState(unit_id=self.unit, name="Care North"))
        self.tell(
            events.ProgrammePublished(programme_id=self.programme, version=1, title=title, milestones=(milestone,))
        )
        self.tell(
            events.CohortOpened(
                cohort_id=self.cohort, programme_id=self.programme, programme_version=1, name="Spring 2026",
                capacity=40, unit_id=self.unit, starts_on=date(2026, 3, 1), ends_on=date(2026, 9, 1),
            )
        )  # fmt: skip

    def enrolment(self, *steps: type[Event], unit: UUID | None = None) -> UUID:
        """One enrolment that takes these steps; milestone classes concern `first_meeting`."""
        enrolment, person = new_id(), new_id()
        for step in steps:
            ids: dict[str, Any] = {
                "enrolment_id": enrolment, "person_id": person, "cohort_id": self.cohort,
                "programme_id": self.programme, "unit_id": unit or self.unit,
            }  # fmt: skip
            self.tell(step(**ids, **_extra(step)))
        return enrolment

    def round(self, *steps: type[Event]) -> UUID:
        round_id = new_id()
        for step in steps:
            ids: dict[str, Any] = {
                "round_id": round_id, "subject_person_id": new_id(), "enrolment_id": new_id(),
                "milestone": "first_meeting", "cohort_id": self.cohort, "programme_id": self.programme,
                "unit_id": self.unit,
            }  # fmt: skip
            self.tell(step(**ids, **_extra(step)))
        return round_id

    def delivery(self, *steps: type[Event]) -> UUID:
        notification = new_id()
        for attempt, step in enumerate(steps, 1):
            about: dict[str, Any] = {
                "notification_id": notification, "kind": "feedback.invitation", "channel": "mail", "attempt": attempt,
            }  # fmt: skip
            self.tell(step(**about, **_extra(step)))
        return notification


def _extra(step: type[Event]) -> dict[str, Any]:
    extra: dict[type[Event], dict[str, Any]] = {
        events.EnrolmentRequested: {"approve_before": NOW + timedelta(days=14)},
        events.EnrolmentWaitlisted: {"position": 1},
        events.EnrolmentActivated: {"promoted": False},
        events.RoundOpened: {
            "kind": "milestone", "practices": [Practice.leading_meetings], "groups": ["self"], "k": 5,
            "opened_at": NOW, "closes_at": NOW + timedelta(days=14),
        },
        events.RoundClosed: {"reason": "time"},
        events.RoundWithheld: {"reason": "too_few_answers"},
        events.ResponsesCounted: {"bucket": "1-4"},
        events.NotificationDeferred: {"reason": "smtp_4xx", "next_attempt_at": NOW},
        events.NotificationFailed: {"reason": "smtp_5xx"},
    }  # fmt: skip
    practices: dict[str, Any] = {
        "milestone": "first_meeting",
        "practices": [Practice.leading_meetings, Practice.mobilising],
    }
    return extra.get(step, practices if step.__name__.startswith("Milestone") else {})


def of(facts: Sequence[Received[Event]], *types: type[Event]) -> list[Received[Event]]:
    return [fact for fact in facts if isinstance(fact.data, types)]
