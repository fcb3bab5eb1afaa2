"""Looking people up: a search, and a page of one person."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse

from services.enrolment.people import queries as people
from services.enrolment.people import store
from services.enrolment.people.domain import Person, path_of
from services.enrolment.register import queries
from shared.http.pagination import Cursor, Page, decode_cursor
from shared.http.request import Who, now, pool
from shared.postgres.transaction import transaction
from shared.web.render import render

router = APIRouter(prefix="/enrolment/people", include_in_schema=False)
PER_PAGE = 25
_LONGEST = 200


@router.get("")
async def search(
    request: Request, who: Who, q: Annotated[str, Query(max_length=_LONGEST)] = "",
    unit: Annotated[str, Query(max_length=_LONGEST)] = "", cursor: Cursor = None,
) -> HTMLResponse:  # fmt: skip
    """People by name or employee id, and by unit. Nobody is shown, and so put on record, before a search."""
    after = decode_cursor(cursor, _storable, _storable, UUID) if cursor else None
    q, unit = (" ".join(text.replace("\0", " ").split()) for text in (q, unit))
    found = Page[Person](items=[])
    async with transaction(pool(request)) as conn:
        await people.scope(conn, who)
        if q or unit:
            found = await people.search(conn, who, q, unit, after=after, limit=PER_PAGE, now=now(request))
        units = {each.id: each for each in await store.units(conn)} if found.items else {}
    rows = [(person, path_of(units[person.unit_id], units)) for person in found.items]
    return render(request, who, "people.html", people=rows, next=found.next, q=q, unit=unit)


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("Postgres has no text with this in it")
    return text


@router.get("/{person_id}")
async def person(
    request: Request, who: Who, person_id: Annotated[UUID, Path(description="The person.")]
) -> HTMLResponse:
    """One person: what HR says of them, where that comes from, and what they take part in."""
    async with transaction(pool(request)) as conn:
        known = await queries.known_person(conn, who, person_id, now=now(request))
        is_looking_up = any(who.has(role) for role in people.MAY_LOOK_UP)
    return render(request, who, "person.html", known=known, is_looking_up=is_looking_up)
