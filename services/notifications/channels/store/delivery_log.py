"""The delivery log: what became of each message on each channel."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from services.notifications.channels.domain import Reason, Status, Verdict
from services.notifications.kinds.every import KINDS
from services.notifications.kinds.kind import Channel, Kind
from shared.http.pagination import Page, fetch_page
from shared.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on one channel, in the delivery log. Its params (which invitation) and texts stay inside.

    public_id: as in `DeliveryAttempt`. recipient_name: None for mail about a round, whose recipient is not even looked
    up, and for people not known here.
    """

    id: UUID
    notification_id: UUID
    public_id: UUID
    kind: Kind
    channel: Channel
    recipient_id: UUID | None
    recipient_name: str | None
    locale: str
    status: Status
    reason: Reason | None
    reply_code: int | None
    attempts: int
    resent: int
    next_attempt_at: datetime | None
    message_id: str
    traceparent: str | None
    created_at: datetime
    settled_at: datetime | None

    @property
    def trace_id(self) -> str | None:
        """The trace that led to it."""
        return self.traceparent.split("-")[1] if self.traceparent else None


_PRIVATE = ", ".join(f"'{kind.name}'" for kind in KINDS.values() if kind.is_private)
_DELIVERY = f"""
    select d.id, d.notification_id, coalesce(m.public_id, m.id) as public_id, m.kind, d.channel, m.recipient_id,
        nullif(trim(p.given_name || ' ' || p.family_name), '') as recipient_name,
        m.locale, d.status, d.reason, d.reply_code, d.attempts, d.resent, d.next_attempt_at, d.message_id,
        m.traceparent, m.created_at, d.settled_at
    from deliveries d join messages m on m.id = d.notification_id
    left join people p on p.id = m.recipient_id and m.kind not in ({_PRIVATE})
"""  # noqa: S608 - words of this module


def _delivery(row: Record) -> Delivery:
    values = dict(row)
    values["kind"], values["channel"] = KINDS[row["kind"]], Channel(row["channel"])
    values["status"] = Status(row["status"])
    values["reason"] = Reason(row["reason"]) if row["reason"] else None
    return Delivery(**values)


async def deliveries(
    conn: Connection, *, status: Status | None, kind: Kind | None, before: UUID | None, limit: int
) -> Page[Delivery]:
    """The newest first, those older than `before` only (ids grow with time)."""
    return await fetch_page(
        conn,
        f"""{_DELIVERY}
        where ($1::text is null or d.status = $1) and ($2::text is null or d.kind = $2)
          and ($3::uuid is null or d.id < $3)
        order by d.id desc limit $4
        """,
        status,
        kind and kind.name,
        before,
        limit=limit,
        item=_delivery,
    )


async def delivery(conn: Connection, delivery_id: UUID) -> Delivery | None:
    """One delivery of the log."""
    row = await conn.fetchrow(f"{_DELIVERY} where d.id = $1", delivery_id)
    return _delivery(row) if row else None


async def lock_delivery(conn: Connection, delivery_id: UUID) -> Delivery | None:
    """One delivery, locked until the transaction ends."""
    row = await conn.fetchrow(f"{_DELIVERY} where d.id = $1 for update of d", delivery_id)
    return _delivery(row) if row else None


async def queue_again(conn: Connection, delivery_id: UUID, verdict: Verdict) -> None:
    """Give a failed delivery a new series of attempts, numbered on from the last."""
    await conn.execute(
        """
        update deliveries
        set status = $2, reason = $3, next_attempt_at = $4, reply_code = null, series_from = attempts,
            settled_at = null
        where id = $1
        """,
        delivery_id,
        verdict.status,
        verdict.reason,
        verdict.next_attempt_at,
    )


async def count_by_status(conn: Connection) -> dict[Status, int]:
    """How many deliveries stand where, over the whole log, with those of which only the number is kept."""
    rows = await conn.fetch(
        """
        select status, sum(many)::bigint as many from (
            select status, count(*) as many from deliveries group by status
            union all select status, sum(deliveries) from forgotten_deliveries group by status
        ) as counted group by status
        """
    )
    return {Status(row["status"]): row["many"] for row in rows}
