"""Who may read figures and stream, and of which part of the organisation."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request

from services.portal.dashboard.domain import Within
from shared.directory.unit_tree import units_below
from shared.events.vocabulary import Role
from shared.http.request import Who, pool
from shared.postgres.pool import Connection
from shared.postgres.transaction import transaction
from shared.security.authorization import require, units_of
from shared.security.principal import Principal


async def within(
    request: Request,
    who: Who,
    unit: Annotated[UUID | None, Query(description="Only this unit and what is below it.")] = None,
    programme: Annotated[UUID | None, Query(description="Only this programme.")] = None,
) -> Within:
    """FastAPI dependency: the part of the organisation that a reader asked for, within what it may see.

    The streams are public inside the organisation: whoever is signed in may read all of them. A machine needs
    `stream_reader`, and sees the units it holds that role for. Raises ProblemError 401 or 403.
    """
    if who.kind == "person" and unit is None:
        return Within(None, programme)
    async with transaction(pool(request)) as conn:
        units = await _allowed(conn, who)
        if unit is not None:
            below = await units_below(conn, [unit])
            units = below if units is None else units & below
    return Within(units, programme)


async def _allowed(conn: Connection, who: Principal) -> frozenset[UUID] | None:
    if who.kind == "person":
        return None
    if not who.has(Role.stream_reader):
        await require(conn, who, Role.stream_reader)
    return await units_of(conn, who, Role.stream_reader)
