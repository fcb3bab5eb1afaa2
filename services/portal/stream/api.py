"""The open stream over HTTP: live as server-sent events, and in pages."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, ClassVar

from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import BaseModel, Field

from services.portal.dashboard import readers
from services.portal.dashboard.domain import Within
from services.portal.stream import store
from services.portal.stream.domain import PUBLIC, StreamFilter, gap
from services.portal.stream.live import live
from services.portal.stream.reader import LiveResponse, OpeningFrame, opening_frame, read
from services.portal.stream.slots import NoSlotError, NoSlotForReaderError, Slot, Slots
from services.portal.stream.wording import as_json
from shared.errors import ProblemError
from shared.http.links import Links
from shared.http.request import Who, pool
from shared.postgres.transaction import transaction
from shared.security.principal import Principal

_FURTHEST = 10**18 - 1  # positions are 64-bit numbers; like `Last-Event-ID`, none has more than 18 digits
_TYPES = frozenset(event.type for event in PUBLIC)
_NAMES = "Event types to get, as `medled.milestone.reached.v1` or `milestone.reached`; all when left out."
_IN_FULL = {re.sub(r"^medled\.|\.v\d+$", "", name): name for name in sorted(_TYPES)}  # its newest version


class EventPage(BaseModel):
    """Events in stream order.

    `next` is the position to ask for the following page with; it is there even when the page is not full, so that a
    reader can come back later.
    """

    LINKS: ClassVar[Links] = {"events": {"after": "next"}}

    items: list[dict[str, object]] = Field(description="Each with `position`, `event` (CloudEvents JSON), `trace`, ...")
    next: int


async def wanted(
    within: Annotated[Within, Depends(readers.within)],
    type: Annotated[list[str] | None, Query(description=_NAMES)] = None,  # noqa: A002
) -> StreamFilter:
    """What this reader asked for, within what it may see."""
    asked = {_IN_FULL.get(name, name) for name in type or ()}
    unknown = asked - _TYPES
    if unknown:
        raise ProblemError(
            422, "unknown-event-type", "Unknown event type", f"{min(unknown)} is not a public event type.",
            field="type", remedy="See /asyncapi.json for the types there are.",
        )  # fmt: skip
    return StreamFilter(frozenset(asked) if asked else None, within)


router = APIRouter(prefix="/portal/v1", tags=["stream"])


@router.get("/stream", response_class=LiveResponse, status_code=200)
async def stream(
    request: Request,
    who: Who,
    wanted: Annotated[StreamFilter, Depends(wanted)],
    after: Annotated[
        int | None, Query(ge=0, le=_FURTHEST, description="Position to resume from; 0 is the beginning.")
    ] = None,
    last_event_id: Annotated[str | None, Header(description="Position to resume from; wins over `after`.")] = None,
) -> LiveResponse:
    """The stream as it happens, as server-sent events.

    First a `snapshot` of the figures; then every event as an unnamed message whose id is its position; `figures`
    about once a second while something happens; comments, so that no silence lasts. Resume with the last id: a
    `gap` says when events since then are no longer kept. `resume` asks to connect again. Whoever signs out or loses
    their token hears nothing more within seconds.
    """
    here, position = live(request), _position(last_event_id, after)
    slot = _slot(here.slots, who)
    try:
        greeting = await opening_frame(here.snapshots, wanted, position)
    except BaseException:
        slot.leave()
        raise
    return LiveResponse(_heard(request, who, wanted, greeting), stall=here.pace.stall, slot=slot)


async def _heard(
    request: Request, who: Principal, wanted: StreamFilter, greeting: OpeningFrame
) -> AsyncGenerator[bytes, None]:
    here = live(request)
    with here.access.watching(request.state.credential, who) as visit:
        async with aclosing(read(pool(request), here.broadcaster, wanted, greeting, here.pace, visit)) as body:
            async for chunk in body:
                yield chunk


@router.get("/events")
async def events(
    request: Request,
    wanted: Annotated[StreamFilter, Depends(wanted)],
    after: Annotated[int, Query(ge=0, le=_FURTHEST, description="Position to read on from; 0 is the beginning.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> EventPage:
    """The stream in pages, oldest first. 410 when events after `after` are no longer kept."""
    async with transaction(pool(request)) as conn:
        page = await store.read_after(conn, after, limit, wanted)
    missing = gap(after, pruned_to=page.pruned_to, head=page.head)
    if missing is not None and after > 0:
        raise _gone(missing.kept_after)
    text = live(request).text
    return EventPage(
        items=[as_json(entry, text) for entry in page.entries],
        next=page.entries[-1].position if len(page.entries) == limit else page.head,
    )


def _slot(slots: Slots, who: Principal) -> Slot:
    try:
        return slots.take(who.id)
    except NoSlotForReaderError as taken:
        raise ProblemError(
            429, "too-many-streams", "Too many streams of yours", f"You read {taken.most} streams here already.",
            remedy="Close one, or read what you need through one of them: without `type`, `unit` and `programme` it "
            "has everything that you may see.",
            headers={"Retry-After": "10"},
        ) from None  # fmt: skip
    except NoSlotError:
        raise ProblemError(
            503, "too-many-readers", "Too many readers", "This process serves as many stream readers as it may.",
            remedy="Try again in some seconds.", headers={"Retry-After": "10"},
        ) from None  # fmt: skip


def _position(last_event_id: str | None, after: int | None) -> int | None:
    if not last_event_id:
        return after
    if not last_event_id.isascii() or not last_event_id.isdigit() or len(last_event_id) > 18:
        raise ProblemError(
            422, "invalid-position", "Not a position", "Last-Event-ID is not a position of this stream.",
            field="Last-Event-ID", remedy="Send the id of the last event you got, or leave it out.",
        )  # fmt: skip
    return int(last_event_id)


def _gone(kept_after: int) -> ProblemError:
    return ProblemError(
        410, "position-too-old", "The position is no longer in the stream",
        f"Events are kept after position {kept_after}; some after yours may be gone.", field="after",
        remedy=f"Read /portal/v1/overview for how things stand, then go on with after={kept_after}.",
    )  # fmt: skip
