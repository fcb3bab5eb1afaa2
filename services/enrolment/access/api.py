"""Roles and tokens over HTTP, for operators and the programme office within the units they hold."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, ClassVar
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from services.enrolment.access import actions, store
from services.enrolment.access.domain import Access, grantors
from shared.events import PrincipalKind, Role
from shared.http.idempotency import change
from shared.http.links import Links
from shared.http.pagination import Cursor, Limit, Page, decode_cursor
from shared.http.request import Id, Named, RequestBody, Who, now, pool
from shared.postgres.pool import Connection
from shared.postgres.transaction import transaction
from shared.security.audit import audit_all
from shared.security.authorization import require
from shared.security.principal import Principal

router = APIRouter(prefix="/enrolment/v1", tags=["access"])


class Grant(RequestBody):
    """A role for a person: for a unit and all below it, or everywhere when `unit_id` is left out."""

    person_id: Id
    role: Named[Role]
    unit_id: Id | None = None


class Holder(BaseModel):
    """Who holds what. Each role with its units and all below them; null: everywhere."""

    principal: str
    kind: PrincipalKind
    person_id: UUID | None
    name: str
    roles: dict[Role, list[UUID] | None]
    expires_at: datetime | None

    @classmethod
    def of(cls, access: Access) -> "Holder":
        return cls(
            principal=access.principal,
            kind=access.kind,
            person_id=access.person_id,
            name=access.name,
            roles={role: None if units is None else sorted(units) for role, units in access.roles.items()},
            expires_at=access.expires_at,
        )


class TokenOrder(RequestBody):
    """A token for a machine: an HR platform, a dashboard. It ends after `days`."""

    name: str = Field(min_length=1, max_length=200, description="What operators will know it by.")
    role: Named[Role]
    unit_ids: list[Id] | None = Field(default=None, min_length=1, max_length=100, description="Null: everywhere.")
    days: int = Field(default=365, ge=1, le=3650)


class Token(BaseModel):
    """A new token. `token` is shown this once and stored nowhere; a repeated request has null in its place."""

    LINKS: ClassVar[Links] = {"withdraw_token": {"principal": "holder/principal"}}

    token: str | None
    holder: Holder


@router.get("/access")
async def list_access(request: Request, who: Who, cursor: Cursor = None, limit: Limit = 50) -> Page[Holder]:
    """Every person and machine that holds a role."""
    after = decode_cursor(cursor, str)[0] if cursor else None
    async with transaction(pool(request)) as conn:
        await require(conn, who, Role.operator, Role.programme_office)
        page = (await store.page(conn, after, limit)).of(Holder.of)
        others = [each.person_id for each in page.items if each.person_id and each.person_id != who.person_id]
        await audit_all(conn, who, "access.read", others, now(request))
    return page


@router.post("/grants", status_code=201, response_model=Holder)
async def grant(request: Request, who: Who, order: Grant) -> Response:
    """Give a person a role. Giving it again changes nothing."""
    async with change(request, who, status=201) as tx:
        await _must_be_allowed(tx.conn, who, order.role, [order.unit_id])
        access = await actions.grant(tx.conn, who, order.person_id, order.role, order.unit_id, now=tx.now)
        return tx.answer(Holder.of(access))


@router.delete("/grants", response_model=Holder)
async def revoke(
    request: Request, who: Who, person_id: UUID, role: Role, unit_id: Annotated[UUID | None, Query()] = None
) -> Response:
    """Take a role from a person: for one unit, or altogether when `unit_id` is left out."""
    async with change(request, who) as tx:
        await _must_be_allowed(tx.conn, who, role, [unit_id])
        return tx.answer(Holder.of(await actions.revoke(tx.conn, who, person_id, role, unit_id, now=tx.now)))


@router.post("/tokens", status_code=201, response_model=Token)
async def issue_token(request: Request, who: Who, order: TokenOrder) -> Response:
    """Issue a machine's token."""
    async with change(request, who, status=201) as tx:
        await _must_be_allowed(tx.conn, who, order.role, order.unit_ids or [None])
        expires_at = tx.now + timedelta(days=order.days)
        token, access = await actions.issue(
            tx.conn, who, order.name, order.role, order.unit_ids, expires_at=expires_at, now=tx.now
        )
        told = Token(token=token, holder=Holder.of(access))
        tx.answer(told.model_copy(update={"token": None}))  # kept for the Idempotency-Key: a secret must not be
        return Response(told.model_dump_json(), 201, media_type="application/json")


@router.delete("/tokens/{principal}", status_code=204)
async def withdraw_token(
    request: Request, who: Who, principal: Annotated[str, Path(max_length=200, pattern=r"^machine:")]
) -> Response:
    """End a machine's token at once."""
    async with change(request, who, status=204) as tx:
        held = await store.find(tx.conn, principal)
        for role, units in held.roles.items() if held is not None else []:
            await _must_be_allowed(tx.conn, who, role, [None] if units is None else list(units))
        if held is None or not held.roles:
            await require(tx.conn, who, Role.operator, Role.programme_office)
        await actions.withdraw(tx.conn, who, principal, now=tx.now)
        return tx.answer(None)


async def _must_be_allowed(conn: Connection, who: Principal, role: Role, units: Sequence[UUID | None]) -> None:
    for unit in units:
        await require(conn, who, *grantors(role), unit=unit)
