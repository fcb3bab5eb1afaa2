"""The delivery log over HTTP. Round mail appears without recipient and without what it was about."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from services.notifications.channels import store
from services.notifications.channels.domain import Attempt, NotFailedError, Reason, Status, event_of, retried
from services.notifications.channels.store import Delivery, MailServerState
from services.notifications.kinds.every import KINDS
from services.notifications.kinds.kind import Channel, Kind
from shared.errors import ProblemError
from shared.events.vocabulary import Role
from shared.http.idempotency import Change, change
from shared.http.pagination import Cursor, Limit, Page, decode_cursor
from shared.http.request import now, pool
from shared.messaging import outbox
from shared.postgres.pool import Connection
from shared.postgres.transaction import transaction
from shared.security.audit import audit, audit_all
from shared.security.authentication import principal
from shared.security.authorization import require
from shared.security.principal import Principal

router = APIRouter(prefix="/notifications/v1/deliveries", tags=["deliveries"])

Who = Annotated[Principal, Depends(principal)]


def _known(name: str) -> str:
    if name not in KINDS:
        raise ValueError(f"must be one of {', '.join(KINDS)}")
    return name


KindName = Annotated[str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(KINDS)})]


class DeliveryBody(BaseModel):
    """One message on one channel, and what became of it."""

    id: UUID
    notification_id: UUID = Field(description="The message: the same in its deliveries by every channel.")
    kind: KindName
    channel: Channel
    status: Status
    reason: Reason | None = Field(description="Why it was not sent, or not yet.")
    reply_code: int | None = Field(description="The mail server's last refusal.", examples=[451])
    attempts: int = Field(description="Over every series: a retry counts on.")
    resent: int = Field(
        description="Times it was handed over again although the server may have had it: the recipient may see it "
        "twice, under one Message-ID."
    )
    next_attempt_at: datetime | None
    created_at: datetime
    settled_at: datetime | None = Field(description="When it became sent, failed or suppressed.")
    message_id: str = Field(description="The mail's Message-ID, to find it in the mail server's log.")
    recipient_id: UUID | None = Field(description="The person it was for; null for mail about a round.")
    trace_id: str | None = Field(
        description="The trace that led to it. Of mail about a round only operators see it: it is the round's."
    )


class StatusCount(BaseModel):
    status: Status
    messages: int


class MailServerBody(BaseModel):
    """Whether the mail server answered when it was last tried."""

    reachable: bool
    reason: str | None = Field(description="Why it did not: a stable code, explained under /codes.")
    since: datetime


class Summary(BaseModel):
    """The whole log in figures."""

    counts: list[StatusCount]
    mail_server: MailServerBody | None = Field(description="Null before the first outage.")


@router.get("")
async def list_deliveries(
    request: Request,
    who: Who,
    status: Status | None = None,
    kind: KindName | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[DeliveryBody]:
    """The delivery log, newest first."""
    page = await log_page(request, who, status, KINDS[kind] if kind else None, limit, cursor)
    return page.of(body_of)


@router.get("/summary")
async def summarise_deliveries(request: Request, who: Who) -> Summary:
    """How many deliveries stand where, and whether the mail server answers."""
    return await summary(request, who)


@router.get("/{delivery_id}")
async def read_delivery(request: Request, delivery_id: UUID, who: Who) -> DeliveryBody:
    """One delivery of the log."""
    async with transaction(pool(request)) as conn:
        await may_read(conn, who)
        one = found(await store.delivery(conn, delivery_id))
        await _note(conn, who, [one], now(request))
    return body_of(_shown(one, who))


@router.post("/{delivery_id}/retry", response_model=DeliveryBody)
async def retry_delivery(request: Request, delivery_id: UUID, who: Who) -> Response:
    """Give a failed message a new series of attempts, beginning now."""
    async with change(request, who) as tx:
        return tx.answer(body_of(await retry(tx, who, delivery_id)))


async def log_page(
    request: Request, who: Principal, status: Status | None, kind: Kind | None, limit: int, cursor: str | None
) -> Page[Delivery]:
    """A page of the log for who may read it."""
    before = decode_cursor(cursor, UUID)[0] if cursor else None
    async with transaction(pool(request)) as conn:
        await may_read(conn, who)
        page = await store.deliveries(conn, status=status, kind=kind, before=before, limit=limit)
        await _note(conn, who, page.items, now(request))
    return page.of(lambda one: _shown(one, who))


async def _note(conn: Connection, who: Principal, shown: Sequence[Delivery], now: datetime) -> None:
    """Whose mail somebody looked at. Round mail is shown without whom it was for, and is nobody's here either."""
    seen = {one.recipient_id for one in shown if one.recipient_id is not None and not one.kind.is_private}
    await audit_all(conn, who, "delivery.read", [person for person in seen if person != who.person_id], now)


async def summary(request: Request, who: Principal) -> Summary:
    """The log in figures for who may read it."""
    async with pool(request).acquire() as conn:
        await may_read(conn, who)
        counts, server = await store.count_by_status(conn), await store.mail_server(conn)
    return Summary(
        counts=[StatusCount(status=status, messages=counts.get(status, 0)) for status in Status],
        mail_server=_mail_server(server) if server else None,
    )


def _mail_server(state: MailServerState) -> MailServerBody:
    return MailServerBody(reachable=state.reachable, reason=state.reason, since=state.changed_at)


async def retry(tx: Change, who: Principal, delivery_id: UUID) -> Delivery:
    """Queue a failed message again, on record and announced. Raises ProblemError 403, 404, 409."""
    await require(tx.conn, who, Role.operator)
    failed = found(await store.lock_delivery(tx.conn, delivery_id))
    try:
        verdict = retried(failed.status, now=tx.now)
    except NotFailedError as error:
        raise ProblemError(
            409, "not-failed", "The message has not failed", str(error), remedy="Look at its status first."
        ) from error
    await store.queue_again(tx.conn, delivery_id, verdict)
    await audit(tx.conn, who, "delivery.retried", delivery_id, tx.now)
    attempt = Attempt(
        failed.id, failed.public_id, failed.kind, failed.channel, failed.recipient_id, failed.attempts
    )  # fmt: skip
    if event := event_of(attempt, verdict):
        await outbox.add(tx.conn, event, now=tx.now)
    return found(await store.delivery(tx.conn, delivery_id))


async def may_read(conn: Connection, who: Principal) -> None:
    """The log concerns the whole organisation. Raises ProblemError 403."""
    await require(conn, who, Role.operator, Role.programme_office)


def found(delivery: Delivery | None) -> Delivery:
    """The delivery. Raises ProblemError 404 when there is none."""
    if delivery is None:
        raise ProblemError(404, "not-found", "Not found", "There is no such message.", remedy="Check the id.")
    return delivery


def _shown(one: Delivery, who: Principal) -> Delivery:
    """The message as somebody may see it: by the trace of a round, which is public, they would find its mail."""
    return one if who.has(Role.operator) or not one.kind.is_private else replace(one, traceparent=None)


def body_of(one: Delivery) -> DeliveryBody:
    """What may be told of a message."""
    return DeliveryBody(
        id=one.id,
        notification_id=one.notification_id,
        kind=one.kind.name,
        channel=one.channel,
        status=one.status,
        reason=one.reason,
        reply_code=one.reply_code,
        attempts=one.attempts,
        resent=one.resent,
        next_attempt_at=one.next_attempt_at,
        created_at=one.created_at,
        settled_at=one.settled_at,
        message_id=one.message_id,
        recipient_id=None if one.kind.is_private else one.recipient_id,
        trace_id=one.trace_id,
    )
