"""The open stream over HTTP: live as server-sent events, and in pages."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, Field

from services.portal.dashboard.domain import Within
from services.portal.dashboard.snapshot import Snapshots
from services.portal.settings import PortalSettings
from services.portal.stream import store
from services.portal.stream.broadcast import Broadcaster
from services.portal.stream.domain import Wanted, gap
from services.portal.stream.handlers import PUBLIC
from services.portal.stream.reading import LiveResponse, Pace, greet, read
from services.portal.stream.wording import Translate, as_json
from shared.access import Role, require
from shared.auth import Principal, principal
from shared.db import Connection, transaction
from shared.http import Problem, pool

_TYPES = frozenset(event.type for event in PUBLIC)


class EventPage(BaseModel):
    """Events in stream order.

    `next` is the position to ask for the following page with; it is there even when the page is not full, so that a
    reader can come back later.
    """

    items: list[dict[str, object]] = Field(description="Each with `position`, `event` (CloudEvents JSON), `trace`, ...")
    next: int


async def wanted(
    request: Request,
    who: Annotated[Principal, Depends(principal)],
    type: Annotated[list[str] | None, Query(description="Event types to get; all when left out.")] = None,  # noqa: A002
    unit: Annotated[UUID | None, Query(description="Only what happened in this unit or below it.")] = None,
    programme: Annotated[UUID | None, Query(description="Only what concerns this programme.")] = None,
) -> Wanted:
    """What this reader asked for, within what it may see.

    Any signed-in person may read the public stream; a machine needs `stream_reader`, and sees only the units it holds
    that role for.
    """
    unknown = set(type or ()) - _TYPES
    if unknown:
        raise Problem(
            422, "unknown-event-type", "Unknown event type", f"{min(unknown)} is not a public event type.",
            field="type", remedy="See /asyncapi.json for the types there are.",
        )  # fmt: skip
    async with transaction(pool(request)) as conn:
        units = await _allowed_units(conn, who)
        if unit is not None:
            below = await store.subtree(conn, [unit])
            units = below if units is None else units & below
    return Wanted(frozenset(type) if type else None, Within(units, programme))


async def _allowed_units(conn: Connection, who: Principal) -> frozenset[UUID] | None:
    if who.kind == "person":
        return None
    if Role.stream_reader not in who.roles:
        await require(conn, who, Role.stream_reader)
    held = who.roles[Role.stream_reader]
    return None if held is None else await store.subtree(conn, sorted(held))


def router(settings: PortalSettings, snapshots: Snapshots, broadcaster: Broadcaster, text: Translate) -> APIRouter:
    """`text` words events for people."""
    api = APIRouter(prefix="/portal/v1", tags=["stream"])
    pace = Pace(
        heartbeat=settings.stream_heartbeat_seconds, stall=settings.stream_stall_seconds,
        visit=settings.stream_visit_minutes * 60,
    )  # fmt: skip

    @api.get("/stream", response_class=EventSourceResponse)
    async def stream(
        request: Request,
        wanted: Annotated[Wanted, Depends(wanted)],
        after: Annotated[int | None, Query(ge=0, description="Position to resume from; 0 is the beginning.")] = None,
        last_event_id: Annotated[str | None, Header(description="Position to resume from; wins over `after`.")] = None,
    ) -> LiveResponse:
        """The stream as it happens, as server-sent events.

        First a `snapshot` of the figures; then every event as an unnamed message whose id is its position; `figures`
        about once a second while something happens; comments, so that no silence lasts. Resume with the last id: a
        `gap` says when events since then are no longer kept. `resume` asks to connect again.
        """
        if len(broadcaster) >= settings.stream_readers:
            raise Problem(
                503, "too-many-readers", "Too many readers", "This process serves as many stream readers as it may.",
                remedy="Try again in some seconds.",
            )  # fmt: skip
        greeting = await greet(pool(request), snapshots, wanted, _position(last_event_id, after))
        return LiveResponse(read(pool(request), broadcaster, wanted, greeting, pace), stall=pace.stall)

    @api.get("/events")
    async def events(
        request: Request,
        wanted: Annotated[Wanted, Depends(wanted)],
        after: Annotated[int, Query(ge=0, description="Position to read on from; 0 is the beginning.")] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> EventPage:
        """The stream in pages, oldest first. 410 when events after `after` are no longer kept."""
        async with transaction(pool(request)) as conn:
            pruned_to, head = await store.bounds(conn)
            missing = gap(after, pruned_to=pruned_to, head=head)
            if missing is not None and after > 0:
                raise _gone(missing.kept_after)
            entries = await store.read_after(conn, after, limit, wanted, until=head)
        return EventPage(
            items=[as_json(entry, text) for entry in entries],
            next=entries[-1].position if len(entries) == limit else max(after, head),
        )

    return api


def _position(last_event_id: str | None, after: int | None) -> int | None:
    if not last_event_id:
        return after
    if not last_event_id.isascii() or not last_event_id.isdigit() or len(last_event_id) > 18:
        raise Problem(
            422, "invalid-position", "Not a position", "Last-Event-ID is not a position of this stream.",
            field="Last-Event-ID", remedy="Send the id of the last event you got, or leave it out.",
        )  # fmt: skip
    return int(last_event_id)


def _gone(kept_after: int) -> Problem:
    return Problem(
        410, "position-too-old", "The position is no longer in the stream",
        f"Events are kept after position {kept_after}; some after yours may be gone.", field="after",
        remedy=f"Read /portal/v1/overview for how things stand, then go on with after={kept_after}.",
    )  # fmt: skip
