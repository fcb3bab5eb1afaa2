"""Sign-ins over HTTP, for operators: who signs in as whom, who was not let in, and binding by hand."""

from datetime import datetime
from typing import Annotated, ClassVar
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from services.enrolment.sign_ins import actions, store
from services.enrolment.sign_ins.domain import Reason
from services.enrolment.sign_ins.store import RefusedSignIn, SignIn
from shared.events import Role
from shared.http.idempotency import change
from shared.http.links import Links
from shared.http.pagination import Cursor, Limit, Page, decode_cursor
from shared.http.request import Id, RequestBody, Who, now, pool
from shared.postgres.transaction import transaction
from shared.security.audit import audit_all
from shared.security.authorization import require

router = APIRouter(prefix="/enrolment/v1/sign-ins", tags=["access"])

Issuer = Annotated[
    str | None,
    Field(min_length=1, max_length=2000, description="The identity provider; the configured one when left out."),
]


class Binding(BaseModel):
    """An account that signs a person in. `login` is what it was found by; null: an operator bound it."""

    LINKS: ClassVar[Links] = {"end": {"person_id": "person_id", "issuer": "issuer"}}

    person_id: UUID
    issuer: str
    subject: str
    login: str | None
    bound_at: datetime
    bound_by: str

    @classmethod
    def of(cls, sign_in: SignIn) -> "Binding":
        return cls(
            person_id=sign_in.person_id, issuer=sign_in.issuer, subject=sign_in.subject, login=sign_in.login,
            bound_at=sign_in.bound_at, bound_by=sign_in.bound_by,
        )  # fmt: skip


class NotLetIn(BaseModel):
    """An account that came and was bound to nobody, and why, the last time it did."""

    issuer: str
    subject: str
    login: str | None
    reason: Reason
    at: datetime

    @classmethod
    def of(cls, refused: RefusedSignIn) -> "NotLetIn":
        return cls(
            issuer=refused.issuer, subject=refused.subject, login=refused.login, reason=Reason(refused.reason),
            at=refused.at,
        )  # fmt: skip


class BindingOrder(RequestBody):
    """An account for a person, instead of the one they had at this issuer."""

    person_id: Id
    subject: str = Field(min_length=1, max_length=1000, description="The account's `sub`.")
    issuer: Issuer = None


class Me(BaseModel):
    """Who is asking."""

    id: str
    person_id: UUID | None
    name: str
    roles: dict[Role, list[UUID] | None]


me = APIRouter(prefix="/enrolment/v1", tags=["access"])


@me.get("/me")
async def who_am_i(who: Who) -> Me:
    """Who the token or session stands for. A person's first call with a token of the issuer binds it to them."""
    roles = {role: None if units is None else sorted(units) for role, units in who.roles.items()}
    return Me(id=who.id, person_id=who.person_id, name=who.name, roles=roles)


@router.get("")
async def list_sign_ins(request: Request, who: Who, cursor: Cursor = None, limit: Limit = 50) -> Page[Binding]:
    """Every account that signs somebody in."""
    after = decode_cursor(cursor, str, str) if cursor else None
    async with transaction(pool(request)) as conn:
        await require(conn, who, Role.operator)
        page = (await store.page(conn, after, limit)).of(Binding.of)
        others = [each.person_id for each in page.items if each.person_id != who.person_id]
        await audit_all(conn, who, "sign_in.read", others, now(request))
    return page


@router.get("/refused")
async def list_refused(request: Request, who: Who, limit: Limit = 50) -> list[NotLetIn]:
    """Accounts that came and were bound to nobody, the latest first. They are kept for 90 days."""
    async with transaction(pool(request)) as conn:
        await require(conn, who, Role.operator)
        return [NotLetIn.of(each) for each in await store.refused(conn, limit)]


@router.post("", status_code=204)
async def bind(request: Request, who: Who, order: BindingOrder) -> Response:
    """Say which account a person signs in with. Their sessions end."""
    async with change(request, who, status=204) as tx:
        await require(tx.conn, who, Role.operator)
        issuer = order.issuer or request.app.state.settings.oidc_issuer
        await actions.bind(tx.conn, who, order.person_id, issuer, order.subject, now=tx.now)
        return tx.answer(None)


@router.delete("", status_code=204)
async def end(
    request: Request, who: Who, person_id: UUID, issuer: Annotated[str | None, Query(max_length=2000)] = None
) -> Response:
    """End a person's sign-in. Their sessions end, and only an operator can bind an account again."""
    async with change(request, who, status=204) as tx:
        await require(tx.conn, who, Role.operator)
        named = issuer or request.app.state.settings.oidc_issuer
        await actions.end(tx.conn, who, person_id, named, now=tx.now)
        return tx.answer(None)
