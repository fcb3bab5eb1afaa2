"""The public facts, projected set-wise: each thing's newest state, whatever the order they come in."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.portal.dashboard import domain, store
from shared.events import CohortOpened, ProgrammePublished
from shared.messaging.handler import Handler, Received
from shared.postgres.pool import Connection


async def project_enrolments(conn: Connection, events: Sequence[Received[Any]], _now: datetime) -> None:
    rows = [
        store.EnrolmentRow(
            id=e.data.enrolment_id, state=domain.ENROLMENT_STATES[type(e.data)], sequence=e.sequence,
            cohort_id=e.data.cohort_id, programme_id=e.data.programme_id, unit_id=e.data.unit_id, changed_at=e.time,
        )
        for e in events
    ]  # fmt: skip
    await store.put_enrolments(conn, domain.newest(rows, key=lambda row: row.id))


async def project_milestones(conn: Connection, events: Sequence[Received[Any]], _now: datetime) -> None:
    rows = [
        store.MilestoneRow(
            enrolment_id=e.data.enrolment_id, milestone=e.data.milestone, state=domain.MILESTONE_STATES[type(e.data)],
            sequence=e.sequence, practices=",".join(e.data.practices), programme_id=e.data.programme_id,
            unit_id=e.data.unit_id, changed_at=e.time,
        )
        for e in events
    ]  # fmt: skip
    await store.put_milestones(conn, domain.newest(rows, key=lambda row: (row.enrolment_id, row.milestone)))


async def project_rounds(conn: Connection, events: Sequence[Received[Any]], _now: datetime) -> None:
    rows = [
        store.RoundRow(
            id=e.data.round_id, state=domain.ROUND_STATES[type(e.data)], sequence=e.sequence,
            programme_id=e.data.programme_id, unit_id=e.data.unit_id, changed_at=e.time,
        )
        for e in events
    ]  # fmt: skip
    await store.put_rounds(conn, domain.newest(rows, key=lambda row: row.id))


async def project_deliveries(conn: Connection, events: Sequence[Received[Any]], _now: datetime) -> None:
    rows = [
        store.DeliveryRow(
            id=e.data.notification_id, state=domain.DELIVERY_STATES[type(e.data)], sequence=e.sequence,
            kind=e.data.kind, changed_at=e.time,
        )
        for e in events
    ]  # fmt: skip
    await store.put_deliveries(conn, domain.newest(rows, key=lambda row: row.id))


async def project_catalogue(conn: Connection, events: Sequence[Received[Any]], _now: datetime) -> None:
    programmes = [
        store.ProgrammeRow(
            e.data.programme_id, e.sequence, e.data.title.model_dump(),
            {milestone.key: milestone.title.model_dump() for milestone in e.data.milestones},
        )
        for e in events
        if isinstance(e.data, ProgrammePublished)
    ]  # fmt: skip
    cohorts = [
        store.CohortRow(
            e.data.cohort_id, e.sequence, e.data.name, e.data.programme_id, domain.COHORT_STATES[type(e.data)]
        )
        for e in events
        if type(e.data) in domain.COHORT_STATES
    ]
    if programmes:
        await store.put_programmes(conn, domain.newest(programmes, key=lambda row: row.id))
    if cohorts:
        await store.put_cohorts(conn, domain.newest(cohorts, key=lambda row: row.id))


async def project_versions(conn: Connection, events: Sequence[Received[Any]], _now: datetime) -> None:
    published = [
        store.ProgrammeVersionRow(
            e.data.programme_id, e.data.version,
            {milestone.key: milestone.title.model_dump() for milestone in e.data.milestones},
        )
        for e in events
        if isinstance(e.data, ProgrammePublished)
    ]  # fmt: skip
    cohorts = [
        store.CohortVersionRow(e.data.cohort_id, e.data.programme_id, e.data.programme_version)
        for e in events
        if isinstance(e.data, CohortOpened)
    ]
    if published:
        await store.put_programme_versions(conn, published)
    if cohorts:
        await store.put_cohort_versions(conn, cohorts)


def handlers() -> list[Handler]:
    """Upserts by key that keep the newest sequence, so none has an effect that could double."""
    return [
        Handler("portal.dashboard.enrolments", tuple(domain.ENROLMENT_STATES), project_enrolments, "every_fact"),
        Handler("portal.dashboard.milestones", tuple(domain.MILESTONE_STATES), project_milestones, "every_fact"),
        Handler("portal.dashboard.rounds", tuple(domain.ROUND_STATES), project_rounds, "every_fact"),
        Handler("portal.dashboard.deliveries", tuple(domain.DELIVERY_STATES), project_deliveries, "every_fact"),
        Handler(
            "portal.dashboard.catalogue", (ProgrammePublished, *domain.COHORT_STATES), project_catalogue, "every_fact"
        ),
        Handler("portal.dashboard.versions", (ProgrammePublished, CohortOpened), project_versions, "every_fact"),
    ]
