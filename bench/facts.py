"""Events as an organisation makes them: many people's enrolments, in a few programmes, cohorts and units."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from shared.events import EnrolmentActivated, EnrolmentApproved, EnrolmentRequested, Event, MilestoneReached, Practice
from shared.messaging import outbox
from shared.postgres.pool import Pool
from shared.postgres.transaction import transaction

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
_CHUNK = 2000


def enrolment_events(number: int, seed: int = 2026) -> list[Event]:
    """`number` events, the same in every run: each enrolment is requested, approved, activated, and reaches a step."""
    return list(islice(_enrolments(random.Random(seed)), number))


def _enrolments(draw: random.Random) -> Iterator[Event]:
    def one() -> UUID:
        return UUID(int=draw.getrandbits(128), version=4)

    units, managers, cohorts, programmes = ([one() for _ in range(many)] for many in (200, 1000, 40, 8))
    while True:
        what: dict[str, Any] = {
            "enrolment_id": one(), "person_id": one(), "cohort_id": draw.choice(cohorts),
            "programme_id": draw.choice(programmes), "unit_id": draw.choice(units),
        }  # fmt: skip
        who = what | {"manager_id": draw.choice(managers)}
        yield EnrolmentRequested(**who, approve_before=NOW)
        yield EnrolmentApproved(**who)
        yield EnrolmentActivated(**who, promoted=False)
        yield MilestoneReached(**what, milestone="first-meeting", practices=(Practice.leading_meetings,))


async def announce(pool: Pool, events: list[Event]) -> None:
    """Put these into the outbox as requests under a trace do, each chunk in a transaction."""
    draw = random.Random(1)
    for start in range(0, len(events), _CHUNK):
        token = attach(_traced(draw))
        try:
            async with transaction(pool) as conn:
                await outbox.add(conn, *events[start : start + _CHUNK], now=NOW)
        finally:
            detach(token)


def _traced(draw: random.Random) -> Context:
    here = SpanContext(draw.getrandbits(128), draw.getrandbits(64), is_remote=False, trace_flags=TraceFlags(1))
    return trace.set_span_in_context(NonRecordingSpan(here), Context())
