"""The delivery log over HTTP. Round mail appears without recipient and without what it was about."""

from datetime import datetime
from typing import Annotated, ClassVar
from uuid import UUID

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from services.notifications.channels import actions, queries
from services.notifications.channels.domain import Reason, Status
from services.notifications.channels.store.delivery_log import Delivery
from services.notifications.channels.store.mail_server import MailServerState
from services.notifications.kinds.every import KINDS
from services.notifications.kinds.kind import Channel
from shared.http.idempotency import change
from shared.http.links import Links
from shared.http.pagination import Cursor, Limit, Page
from shared.http.request import Who, now, pool
from shared.postgres.transaction import transaction

router = APIRouter(prefix="/notifications/v1/deliveries", tags=["deliveries"])


def _known(name: str) -> str:
    if name not in KINDS:
        raise ValueError(f"must be one of {', '.join(KINDS)}")
    return name


KindName = Annotated[str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(KINDS)})]


class DeliveryBody(BaseModel):
    """One message on one channel, and what became of it."""

    LINKS: ClassVar[Links] = {"read_delivery": {"delivery_id": "id"}, "retry_delivery": {"delivery_id": "id"}}

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
    async with transaction(pool(request)) as conn:
        page = await queries.log_page(
            conn, who, status=status, kind=KINDS[kind] if kind else None, limit=limit, cursor=cursor, now=now(request)
        )
    return page.of(body_of)


@router.get("/summary")
async def summarise_deliveries(request: Request, who: Who) -> Summary:
    """How many deliveries stand where, and whether the mail server answers."""
    async with pool(request).acquire() as conn:
        found = await queries.summary(conn, who)
    return Summary(
        counts=[StatusCount(status=status, messages=count) for status, count in found.counts.items()],
        mail_server=_mail_server(found.mail_server) if found.mail_server else None,
    )


@router.get("/{delivery_id}")
async def read_delivery(request: Request, delivery_id: UUID, who: Who) -> DeliveryBody:
    """One delivery of the log."""
    async with transaction(pool(request)) as conn:
        return body_of(await queries.one(conn, who, delivery_id, now=now(request)))


@router.post("/{delivery_id}/retry", response_model=DeliveryBody)
async def retry_delivery(request: Request, delivery_id: UUID, who: Who) -> Response:
    """Give a failed message a new series of attempts, beginning now."""
    async with change(request, who) as tx:
        return tx.answer(body_of(await actions.retry(tx.conn, who, delivery_id, now=tx.now)))


def _mail_server(state: MailServerState) -> MailServerBody:
    return MailServerBody(reachable=state.reachable, reason=state.reason, since=state.changed_at)


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
