"""Routing's statements: queue messages, take back revoked ones, keep catalogue titles, look up recipients."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.notifications.channels.domain import Kind, Reason, Status
from services.notifications.routing.domain import Recipient
from shared.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class NewNotification:
    """A row to be queued, or suppressed when `reason` says why."""

    id: UUID
    public_id: UUID | None
    kind: Kind
    recipient_id: UUID | None
    locale: str
    params: Mapping[str, Any]
    reason: Reason | None
    pointless_after: datetime | None
    known_address: str | None
    message_id: str
    caused_by: UUID
    correlation_id: str
    traceparent: str | None
    tracestate: str | None


async def recipients(conn: Connection, ids: Collection[UUID]) -> dict[UUID, Recipient]:
    """Those of `ids` that the directory knows."""
    rows = await conn.fetch(
        "select id, status, locale, coalesce(email, '') <> '' as has_address from people where id = any($1::uuid[])",
        list(ids),
    )
    return {row["id"]: Recipient(**dict(row)) for row in rows}


async def known_programmes(conn: Connection, ids: Collection[UUID]) -> set[UUID]:
    """Those of `ids` whose title is known."""
    rows = await conn.fetch("select id from programmes where id = any($1::uuid[])", list(ids))
    return {row["id"] for row in rows}


async def known_cohorts(conn: Connection, ids: Collection[UUID]) -> set[UUID]:
    """Those of `ids` whose name is known."""
    rows = await conn.fetch("select id from cohorts where id = any($1::uuid[])", list(ids))
    return {row["id"] for row in rows}


async def keep_programmes(conn: Connection, titles: Mapping[UUID, dict[str, str]]) -> None:
    """Remember programme titles by id, in both languages."""
    await conn.execute(
        """
        insert into programmes (id, title) select * from unnest($1::uuid[], $2::jsonb[])
        on conflict (id) do update set title = excluded.title
        """,
        list(titles),
        list(titles.values()),
    )


async def keep_cohorts(conn: Connection, names: Mapping[UUID, str]) -> None:
    """Remember cohort names by id."""
    await conn.execute(
        """
        insert into cohorts (id, name) select * from unnest($1::uuid[], $2::text[])
        on conflict (id) do update set name = excluded.name
        """,
        list(names),
        list(names.values()),
    )


async def queue(conn: Connection, new: Sequence[NewNotification], *, now: datetime) -> None:
    """Put messages into the queue, suppressed ones straight into the log; one per causing fact, whatever happens."""
    await conn.execute(
        """
        insert into notifications (id, kind, recipient_id, locale, params, status, reason, next_attempt_at,
            pointless_after, message_id, caused_by, correlation_id, traceparent, tracestate, public_id,
            known_address, created_at, settled_at)
        select id, kind, recipient_id, locale, params,
            case when reason is null then 'queued' else 'suppressed' end, reason,
            case when reason is null then $13::timestamptz end,
            pointless_after, message_id, caused_by, correlation_id, traceparent, tracestate, public_id,
            known_address, $13,
            case when reason is not null then $13::timestamptz end
        from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::jsonb[], $6::text[], $7::timestamptz[],
            $8::text[], $9::uuid[], $10::text[], $11::text[], $12::text[], $14::uuid[], $15::text[]) as t(id, kind,
            recipient_id, locale, params, reason, pointless_after, message_id, caused_by, correlation_id, traceparent,
            tracestate, public_id, known_address)
        on conflict (caused_by) do nothing
        """,
        [row.id for row in new],
        [row.kind for row in new],
        [row.recipient_id for row in new],
        [row.locale for row in new],
        [dict(row.params) for row in new],
        [row.reason for row in new],
        [row.pointless_after for row in new],
        [row.message_id for row in new],
        [row.caused_by for row in new],
        [row.correlation_id for row in new],
        [row.traceparent for row in new],
        [row.tracestate for row in new],
        now,
        [row.public_id for row in new],
        [row.known_address for row in new],
    )


async def remember_issued(
    conn: Connection, invitations: Sequence[tuple[UUID, UUID, UUID]]
) -> dict[UUID, tuple[UUID, UUID | None]]:
    """Keep which event issued which invitation, each as (invitation, round, event), unless it is known already.

    Gives (event, round) of each as it is known now; round is None for an invitation of 0.1.0.
    """
    columns = [list(column) for column in zip(*invitations, strict=True)]
    await conn.execute(
        """
        insert into invitations (id, round_id, issued_by)
        select id, round_id, issued_by
        from unnest($1::uuid[], $2::uuid[], $3::uuid[]) with ordinality as t(id, round_id, issued_by, nth)
        order by id, nth -- as everybody locks them; of two in a batch the first counts
        on conflict (id) do nothing
        """,
        *columns,
    )
    return await issued(conn, columns[0])


async def issued(conn: Connection, invitation_ids: Collection[UUID]) -> dict[UUID, tuple[UUID, UUID | None]]:
    """(event, round) of those of these invitations that are known, by id."""
    rows = await conn.fetch(
        "select id, issued_by, round_id from invitations where id = any($1::uuid[])", list(invitation_ids)
    )
    return {row["id"]: (row["issued_by"], row["round_id"]) for row in rows}


async def remember_revoked(conn: Connection, invitation_ids: Collection[UUID]) -> None:
    """Keep that these invitations are void, whether or not they have been seen yet."""
    await conn.execute(
        "insert into revoked_invitations (id) select unnest($1::uuid[]) on conflict do nothing", list(invitation_ids)
    )


async def revoked_among(conn: Connection, invitation_ids: Collection[UUID]) -> set[UUID]:
    """Those of `invitation_ids` that are void."""
    rows = await conn.fetch("select id from revoked_invitations where id = any($1::uuid[])", list(invitation_ids))
    return {row["id"] for row in rows}


async def suppress_approvals_of_others(
    conn: Connection, approvers: Mapping[UUID, UUID | None], *, now: datetime
) -> None:
    """Of these requests, by enrolment, take mail to anybody but who answers now off the queue."""
    await conn.execute(
        """
        update notifications n set status = $4, reason = $5, next_attempt_at = null, settled_at = $3
        from unnest($1::text[], $2::uuid[]) as now_asked(enrolment_id, approver_id)
        where kind = 'approval_needed' and status in ('queued', 'deferred')
          and params ->> 'enrolment_id' = now_asked.enrolment_id and recipient_id is distinct from approver_id
        """,
        [str(enrolment_id) for enrolment_id in approvers],
        list(approvers.values()),
        now,
        Status.SUPPRESSED,
        Reason.APPROVER_CHANGED,
    )


async def suppress_invitations(conn: Connection, invitation_ids: Collection[UUID], *, now: datetime) -> None:
    """Take messages for void invitations off the queue; one being sent right now is judged when it would be retried."""
    await conn.execute(
        """
        update notifications set status = $3, reason = $4, next_attempt_at = null, settled_at = $2
        where kind = 'invitation' and status in ('queued', 'deferred') and params ->> 'invitation_id' = any($1::text[])
        """,
        [str(invitation_id) for invitation_id in invitation_ids],
        now,
        Status.SUPPRESSED,
        Reason.INVITATION_REVOKED,
    )
