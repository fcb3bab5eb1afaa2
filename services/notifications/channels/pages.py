"""The delivery log as pages, for operations and the programme office."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Form
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from services.notifications.channels import actions, queries
from services.notifications.channels.domain import Status
from services.notifications.kinds.every import KINDS
from services.notifications.settings import NotificationsSettings
from shared.events.vocabulary import Role
from shared.http.pagination import Cursor
from shared.http.request import Who, now, pool
from shared.postgres.transaction import transaction
from shared.security.same_origin import form_guard
from shared.web.render import render

router = APIRouter(prefix="/notifications", include_in_schema=False)

_BROWSABLE = [status for status in Status if status is not Status.SENDING]


@router.get("")
@router.get("/")
async def to_the_log() -> RedirectResponse:
    return RedirectResponse("/notifications/deliveries", 303)


@router.get("/deliveries")
async def delivery_log(
    request: Request, who: Who, status: str = "", kind: str = "", cursor: Cursor = None
) -> HTMLResponse:
    """How many messages stand where, and the newest of them. An unknown filter is no filter."""
    by_status = Status(status) if status in set(Status) else None
    by_kind = KINDS.get(kind)
    async with transaction(pool(request)) as conn:
        page = await queries.log_page(
            conn, who, status=by_status, kind=by_kind, limit=50, cursor=cursor, now=now(request)
        )
        summary = await queries.summary(conn, who)
    settings: NotificationsSettings = request.app.state.settings
    return render(
        request, who, "deliveries.html",
        deliveries=page.items, next=page.next, summary=summary, chosen_status=by_status,
        chosen_kind=by_kind, statuses=_BROWSABLE, kinds=list(KINDS.values()), may_retry=who.has(Role.operator),
        trace_url=settings.trace_url, kept_days=settings.round_mail_kept.days,
    )  # fmt: skip


@router.post("/deliveries/{delivery_id}/retry", dependencies=[Depends(form_guard)])
async def retry_from_the_log(
    request: Request, delivery_id: UUID, who: Who, back: Annotated[str, Form(max_length=300)] = ""
) -> RedirectResponse:
    """Queue a failed message again and return to the list; `back` is the list's query."""
    async with transaction(pool(request)) as conn:
        await actions.retry(conn, who, delivery_id, now=now(request))
    return RedirectResponse(f"/notifications/deliveries?{back.lstrip('?')}".rstrip("?"), 303)
