"""The queue of deliveries by mail: claimed with all that their texts are made of, and settled."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from asyncpg import Record

from services.notifications.channels.domain import DeliveryAttempt, Verdict
from services.notifications.kinds.every import KINDS
from services.notifications.kinds.kind import Channel
from shared.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class Mail:
    """A delivery by mail, claimed for one attempt, with everything its text is made of. Lives in memory only."""

    attempt: DeliveryAttempt
    locale: str
    params: Mapping[str, Any]
    pointless_after: datetime | None
    message_id: str
    caused_by: UUID
    correlation_id: str
    traceparent: str | None
    tracestate: str | None
    address: str | None
    recipient_name: str
    recipient_status: str | None
    time_zone: str | None
    person: str | None
    programme: Mapping[str, str] | None
    cohort: str | None
    units: Sequence[str]
    revoked: bool


# Who was to be told at an address of before is told there or not at all, also when it is gone and they are tried again.
_WITH_TEXTS = """
    select c.id, c.channel, c.attempts, c.series_from, c.message_id, coalesce(m.public_id, m.id) as public_id, m.kind,
        m.recipient_id, m.locale, m.params, m.pointless_after, m.caused_by, m.correlation_id, m.traceparent,
        m.tracestate, case when m.params ? 'known_before' then c.known_address else r.email end as address,
        r.given_name as recipient_name, r.status as recipient_status, r.time_zone,
        nullif(trim(s.given_name || ' ' || s.family_name), '') as person, p.title as programme, k.name as cohort,
        case when m.params ? 'unit_ids' then array(
            select u.name from jsonb_array_elements_text(m.params -> 'unit_ids') with ordinality as told(id, nth)
            join units u on u.id = told.id::uuid order by nth
        ) else '{}' end as units,
        v.id is not null as revoked
    from claimed c
    join messages m on m.id = c.notification_id
    left join people r on r.id = m.recipient_id
    left join people s on s.id = (m.params ->> 'person_id')::uuid
    left join programmes p on p.id = (m.params ->> 'programme_id')::uuid
    left join cohorts k on k.id = (m.params ->> 'cohort_id')::uuid
    left join revoked_invitations v on v.id = (m.params ->> 'invitation_id')::uuid
"""


async def claim_due(conn: Connection, limit: int, lease: timedelta, *, now: datetime) -> list[Mail]:
    """Take up to `limit` mails whose time has come; other workers skip them until the lease ends."""
    rows = await conn.fetch(
        f"""
        with due as (
            select id from deliveries
            where channel = 'mail' and status in ('queued', 'deferred') and next_attempt_at <= $1
            order by next_attempt_at limit $2 for update skip locked
        ), claimed as (
            update deliveries d set status = 'sending', attempts = attempts + 1, next_attempt_at = null,
                lease_until = clock_timestamp() + $3
            from due where d.id = due.id returning d.*
        )
        {_WITH_TEXTS}
        """,  # noqa: S608 - a constant of this module
        now,
        limit,
        lease,
    )
    return [_mail(row) for row in rows]


async def claim_lapsed(conn: Connection, limit: int, lease: timedelta, *, ours: Collection[UUID]) -> list[Mail]:
    """Take mails whose sender fell silent before saying how it went, except those still in `ours` hands.

    They are sent again with the same Message-ID, and counted: the server may have taken them (the one stated edge).
    """
    rows = await conn.fetch(
        f"""
        with lapsed as (
            select id from deliveries
            where channel = 'mail' and status = 'sending' and lease_until < clock_timestamp() and id <> all($3::uuid[])
            order by lease_until limit $1 for update skip locked
        ), claimed as (
            update deliveries d set attempts = attempts + 1, resent = resent + 1,
                lease_until = clock_timestamp() + $2
            from lapsed where d.id = lapsed.id returning d.*
        )
        {_WITH_TEXTS}
        """,  # noqa: S608 - a constant of this module
        limit,
        lease,
        list(ours),
    )
    return [_mail(row) for row in rows]


def _mail(row: Record) -> Mail:
    return Mail(
        attempt=DeliveryAttempt(
            row["id"],
            row["public_id"],
            KINDS[row["kind"]],
            Channel(row["channel"]),
            row["recipient_id"],
            row["attempts"],
            row["series_from"],
        ),
        locale=row["locale"],
        params=row["params"],
        pointless_after=row["pointless_after"],
        message_id=row["message_id"],
        caused_by=row["caused_by"],
        correlation_id=row["correlation_id"],
        traceparent=row["traceparent"],
        tracestate=row["tracestate"],
        address=row["address"],
        recipient_name=row["recipient_name"] or "",
        recipient_status=row["recipient_status"],
        time_zone=row["time_zone"],
        person=row["person"],
        programme=row["programme"],
        cohort=row["cohort"],
        units=row["units"],
        revoked=row["revoked"],
    )


async def settle(conn: Connection, verdicts: Sequence[tuple[DeliveryAttempt, Verdict]], *, now: datetime) -> set[UUID]:
    """Write down how attempts ended; returns the ids that were still ours to settle.

    Whoever lost its lease meanwhile changes nothing, except that an accepted mail is sent, whoever else has it in hand.
    """
    rows = await conn.fetch(
        """
        update deliveries d
        set status = o.status, reply_code = o.reply_code, next_attempt_at = o.next_attempt_at,
            reason = case when o.given_back = 1 then d.reason else o.reason end,
            lease_until = null, resent = d.resent + o.resent, attempts = d.attempts - o.given_back,
            settled_at = case when o.status in ('sent', 'failed', 'suppressed') then $9::timestamptz end,
            known_address = case when o.status not in ('sent', 'failed', 'suppressed') then d.known_address end
        from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::int[], $6::timestamptz[], $7::int[], $8::int[])
            as o(id, attempt, status, reason, reply_code, next_attempt_at, resent, given_back)
        where d.id = o.id and (
            d.status = 'sending' and d.attempts = o.attempt
            or o.status = 'sent' and d.status in ('sending', 'deferred')
        )
        returning d.id
        """,
        [attempt.id for attempt, _ in verdicts],
        [attempt.number for attempt, _ in verdicts],
        [verdict.status for _, verdict in verdicts],
        [verdict.reason for _, verdict in verdicts],
        [verdict.reply_code for _, verdict in verdicts],
        [verdict.next_attempt_at for _, verdict in verdicts],
        [int(verdict.counts_as_resend) for _, verdict in verdicts],
        [int(verdict.gives_attempt_back) for _, verdict in verdicts],
        now,
    )
    return {row["id"] for row in rows}
