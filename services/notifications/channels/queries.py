"""The delivery log, for who may read it. Whose mail somebody looked at is put on record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from services.notifications.channels.domain import Status
from services.notifications.channels.store import delivery_log, mail_server
from services.notifications.channels.store.delivery_log import Delivery
from services.notifications.channels.store.mail_server import MailServerState
from services.notifications.kinds.kind import Kind
from shared.errors import ProblemError
from shared.events.vocabulary import Role
from shared.http.pagination import Page, decode_cursor
from shared.postgres.pool import Connection
from shared.security.audit import audit_all
from shared.security.authorization import require
from shared.security.principal import Principal


@dataclass(frozen=True, slots=True)
class LogSummary:
    """The log in figures, every status among them; `mail_server` is None before the first outage."""

    counts: Mapping[Status, int]
    mail_server: MailServerState | None


async def log_page(
    conn: Connection,
    who: Principal,
    *,
    status: Status | None,
    kind: Kind | None,
    limit: int,
    cursor: str | None,
    now: datetime,
) -> Page[Delivery]:
    """A page of the log for who may read it."""
    before = decode_cursor(cursor, UUID)[0] if cursor else None
    await _may_read(conn, who)
    page = await delivery_log.deliveries(conn, status=status, kind=kind, before=before, limit=limit)
    await _note(conn, who, page.items, now)
    return page.of(lambda one: _shown(one, who))


async def one(conn: Connection, who: Principal, delivery_id: UUID, *, now: datetime) -> Delivery:
    """One delivery of the log. Raises ProblemError 403, 404."""
    await _may_read(conn, who)
    found = existing(await delivery_log.delivery(conn, delivery_id))
    await _note(conn, who, [found], now)
    return _shown(found, who)


async def summary(conn: Connection, who: Principal) -> LogSummary:
    """The log in figures for who may read it. Raises ProblemError 403."""
    await _may_read(conn, who)
    counts = await delivery_log.count_by_status(conn)
    return LogSummary({status: counts.get(status, 0) for status in Status}, await mail_server.mail_server_state(conn))


def existing(delivery: Delivery | None) -> Delivery:
    """The delivery. Raises ProblemError 404 when there is none."""
    if delivery is None:
        raise ProblemError(404, "not-found", "Not found", "There is no such message.", remedy="Check the id.")
    return delivery


async def _note(conn: Connection, who: Principal, shown: Sequence[Delivery], now: datetime) -> None:
    """Whose mail somebody looked at. Round mail is shown without whom it was for, and is nobody's here either."""
    seen = {one.recipient_id for one in shown if one.recipient_id is not None and not one.kind.is_private}
    await audit_all(conn, who, "delivery.read", [person for person in seen if person != who.person_id], now)


async def _may_read(conn: Connection, who: Principal) -> None:
    """The log concerns the whole organisation. Raises ProblemError 403."""
    await require(conn, who, Role.operator, Role.programme_office)


def _shown(one: Delivery, who: Principal) -> Delivery:
    """The message as somebody may see it: by the trace of a round, which is public, they would find its mail."""
    return one if who.has(Role.operator) or not one.kind.is_private else replace(one, traceparent=None)
