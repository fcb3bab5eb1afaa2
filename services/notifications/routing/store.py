"""Routing's statements: queue messages, take back revoked ones, keep catalogue titles, look up recipients."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.notifications.channels.domain import Reason, Status
from services.notifications.kinds.kind import Channel, Kind
from services.notifications.routing.domain import Recipient
from shared.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A message on one channel: to be sent, or suppressed when `reason` says why."""

    id: UUID
    channel: Channel
    reason: Reason | None
    known_address: str | None
    message_id: str


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A row, with its deliveries."""

    id: UUID
    public_id: UUID | None
    kind: Kind
    recipient_id: UUID | None
    locale: str
    params: Mapping[str, Any]
    pointless_after: datetime | None
    caused_by: UUID
    correlation_id: str
    traceparent: str | None
    tracestate: str | None
    deliveries: Sequence[NewDelivery]


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


async def queue(conn: Connection, new: Sequence[NewMessage], *, now: datetime) -> None:
    """Put messages into the queue, suppressed ones straight into the log.

    One of a kind to a recipient for each causing fact, whatever happens.
    """
    deliveries = [(message, each) for message in new for each in message.deliveries]
    await conn.execute(
        """
        with made as (
            insert into messages (id, public_id, kind, recipient_id, locale, params, pointless_after, caused_by,
                correlation_id, traceparent, tracestate, created_at)
            select id, public_id, kind, recipient_id, locale, params, pointless_after, caused_by, correlation_id,
                traceparent, tracestate, $12
            from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::jsonb[], $7::timestamptz[],
                $8::uuid[], $9::text[], $10::text[], $11::text[]) as t(id, public_id, kind, recipient_id, locale,
                params, pointless_after, caused_by, correlation_id, traceparent, tracestate)
            on conflict (caused_by, kind, recipient_id) do nothing
            returning id
        )
        insert into deliveries (id, notification_id, channel, kind, status, reason, next_attempt_at, settled_at,
            known_address, message_id)
        select t.id, t.notification_id, t.channel, t.kind,
            case when reason is null then 'queued' else 'suppressed' end, reason,
            case when reason is null then $12::timestamptz end, case when reason is not null then $12::timestamptz end,
            known_address, message_id
        from unnest($13::uuid[], $14::uuid[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[])
            as t(id, notification_id, channel, kind, reason, known_address, message_id)
        join made on made.id = t.notification_id
        """,
        [row.id for row in new], [row.public_id for row in new], [row.kind.name for row in new],
        [row.recipient_id for row in new], [row.locale for row in new], [dict(row.params) for row in new],
        [row.pointless_after for row in new], [row.caused_by for row in new], [row.correlation_id for row in new],
        [row.traceparent for row in new], [row.tracestate for row in new],
        now,
        [each.id for _, each in deliveries], [message.id for message, _ in deliveries],
        [each.channel for _, each in deliveries], [message.kind.name for message, _ in deliveries],
        [each.reason for _, each in deliveries], [each.known_address for _, each in deliveries],
        [each.message_id for _, each in deliveries],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Issued:
    """An invitation as the event that issued it said."""

    id: UUID
    round_id: UUID
    issued_by: UUID
    closes_at: datetime


async def remember_issued(
    conn: Connection, invitations: Sequence[Issued], *, now: datetime
) -> dict[UUID, tuple[UUID, UUID | None]]:
    """Keep which event issued which invitation, unless it is known already.

    Gives (event, round) of each as it is known now; round is None for an invitation of 0.1.0.
    """
    ids = [one.id for one in invitations]
    await conn.execute(
        """
        insert into invitations (id, round_id, issued_by, closes_at, seen_at)
        select id, round_id, issued_by, closes_at, $5
        from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[])
            with ordinality as t(id, round_id, issued_by, closes_at, nth)
        order by id, nth -- as everybody locks them; of two in a batch the first counts
        on conflict (id) do nothing
        """,
        ids,
        [one.round_id for one in invitations],
        [one.issued_by for one in invitations],
        [one.closes_at for one in invitations],
        now,
    )
    return await issued(conn, ids)


async def issued(conn: Connection, invitation_ids: Collection[UUID]) -> dict[UUID, tuple[UUID, UUID | None]]:
    """(event, round) of those of these invitations that are known, by id."""
    rows = await conn.fetch(
        "select id, issued_by, round_id from invitations where id = any($1::uuid[])", list(invitation_ids)
    )
    return {row["id"]: (row["issued_by"], row["round_id"]) for row in rows}


async def remember_revoked(conn: Connection, invitation_ids: Collection[UUID], *, now: datetime) -> None:
    """Keep that these invitations are void, whether or not they have been seen yet."""
    await conn.execute(
        "insert into revoked_invitations (id, seen_at) select unnest($1::uuid[]), $2 on conflict do nothing",
        list(invitation_ids),
        now,
    )


async def revoked_among(conn: Connection, invitation_ids: Collection[UUID]) -> set[UUID]:
    """Those of `invitation_ids` that are void."""
    rows = await conn.fetch("select id from revoked_invitations where id = any($1::uuid[])", list(invitation_ids))
    return {row["id"] for row in rows}


async def suppress_approvals_of_others(
    conn: Connection, approvers: Mapping[UUID, UUID | None], *, now: datetime
) -> None:
    """Of these requests, by enrolment, take messages to anybody but who answers now off the queue."""
    await conn.execute(
        """
        update deliveries d set status = $4, reason = $5, next_attempt_at = null, settled_at = $3
        from unnest($1::text[], $2::uuid[]) as now_asked(enrolment_id, approver_id)
        join messages m on m.kind = 'approval_needed' and m.params ->> 'enrolment_id' = now_asked.enrolment_id
            and m.recipient_id is distinct from now_asked.approver_id
        where d.notification_id = m.id and d.status in ('queued', 'deferred')
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
        update deliveries d set status = $3, reason = $4, next_attempt_at = null, settled_at = $2
        from messages m
        where m.kind = 'invitation' and m.params ->> 'invitation_id' = any($1::text[])
          and d.notification_id = m.id and d.status in ('queued', 'deferred')
        """,
        [str(invitation_id) for invitation_id in invitation_ids],
        now,
        Status.SUPPRESSED,
        Reason.INVITATION_REVOKED,
    )


async def forget_messages(
    conn: Connection, kinds: Collection[Kind], before: datetime, limit: int, *, now: datetime
) -> int:
    """Reduce messages of these kinds that were made before then to numbers; returns how many it forgot.

    At most `limit`, and none that is still to be delivered or whose time is not up.
    """
    forgotten: int = await conn.fetchval(
        """
        with old as materialized (
            select id, created_at from messages m
            where kind = any($1::text[]) and created_at < $2 and (pointless_after is null or pointless_after < $4)
              and not exists (select from deliveries where notification_id = m.id and settled_at is null)
            order by created_at limit $3
        ), counted as (
            insert into forgotten_deliveries as f (month, kind, channel, status, deliveries)
            select date_trunc('month', old.created_at at time zone 'utc')::date, d.kind, d.channel, d.status, count(*)
            from old join deliveries d on d.notification_id = old.id group by 1, 2, 3, 4 order by 1, 2, 3, 4
            on conflict (month, kind, channel, status) do update set deliveries = f.deliveries + excluded.deliveries
        ), gone as (
            delete from messages where id in (select id from old) returning id
        )
        select count(*) from gone
        """,
        [kind.name for kind in kinds],
        before,
        limit,
        now,
    )
    return forgotten


async def forget_invitations(conn: Connection, before: datetime, *, now: datetime) -> None:
    """Forget invitations seen before then whose round is over, and that those which nobody has any more were void."""
    await conn.execute(
        "delete from invitations where seen_at < $1 and (closes_at is null or closes_at < $2)", before, now
    )
    await conn.execute(
        """
        delete from revoked_invitations r
        where seen_at < $1 and not exists (select from invitations i where i.id = r.id)
        """,
        before,
    )
