"""Authentication: who is asking. What they may do is decided in `shared.access`.

A person comes with a bearer token of the issuer or with the session cookie that the portal set; a machine with a token
of ours (`mlt_...`). All three only identify: roles come from this service's own tables, so a revoked one ends at once.
"""

from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from shared.access import TOKEN_PREFIX, Principal, known_roles, token_digest
from shared.oidc import InvalidTokenError, IssuerUnavailableError, TokenVerifier
from shared.problems import Problem
from shared.web.guard import must_be_same_origin
from shared.web.session import read_session

__all__ = ["Principal", "optional_principal", "principal"]

log = structlog.get_logger(__name__)
_bearer = HTTPBearer(auto_error=False, description="An access token of the issuer, or a machine token `mlt_...`.")


async def principal(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None
) -> Principal:
    """FastAPI dependency: who is asking.

    Raises Problem 401, the same for every reason (browsers are sent to the login page); 403 for somebody who is signed
    in but not, or no longer, in the people register; 503 when the issuer cannot be asked for its keys.
    """
    who = await _identify(request)
    if who is None:
        raise _unauthenticated()
    request.state.who = who
    return who


async def optional_principal(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None
) -> Principal | None:
    """Like `principal`, but None for a visitor who presents nothing, or a session that has ended."""
    who = await _identify(request)
    request.state.who = who
    return who


async def _identify(request: Request) -> Principal | None:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer" or not credentials:
            raise _unauthenticated()
        if credentials.startswith(TOKEN_PREFIX):
            return await _machine(request, credentials)
        return await _person(request, await _subject(request, credentials))
    session = read_session(request)
    if session is None:
        return None
    must_be_same_origin(request)  # a cookie travels by itself, so here the page that sends the request must be ours
    return await _person(request, session.subject)


async def _subject(request: Request, token: str) -> str:
    verifier: TokenVerifier = request.app.state.token_verifier
    try:
        return (await verifier.verify(token)).subject
    except InvalidTokenError as error:
        raise _unauthenticated() from error
    except IssuerUnavailableError as error:
        log.warning("issuer unavailable", reason=str(error))
        raise Problem(
            503, "issuer-unavailable", "Signing in is not possible right now", "The identity provider does not answer.",
            remedy="Try again shortly.", headers={"Retry-After": "5"},
        ) from error  # fmt: skip


async def _machine(request: Request, token: str) -> Principal:
    state = request.app.state
    row = await state.pool.fetchrow(
        """
        select principal, name, roles from access
        where token_hash = $1 and kind = 'machine' and (expires_at is null or expires_at > $2)
        """,
        token_digest(token),
        state.clock.now(),
    )
    if row is None:
        raise _unauthenticated()
    return Principal("machine", row["principal"], None, row["name"], "en", known_roles(row["roles"]), "UTC")


async def _person(request: Request, login: str) -> Principal:
    state = request.app.state
    rows = await state.pool.fetch(
        """
        select p.id, p.given_name, p.family_name, p.locale, p.time_zone,
               case when a.expires_at is null or a.expires_at > $2 then a.roles end as roles,
               exists (select from people r where r.manager_id = p.id and r.status <> 'inactive') as has_reports
        from people p left join access a on a.person_id = p.id
        where p.login = $1 and p.status <> 'inactive' limit 2
        """,
        login,
        state.clock.now(),
    )
    if len(rows) != 1:
        raise Problem(
            403, "unknown-person", "You are not in the people register",
            "You are signed in, but no active person in the organisation has this login.",
            remedy="Ask the programme office whether HR has reported you yet.",
        )  # fmt: skip
    return _as_principal(rows[0])


def _as_principal(row: Any) -> Principal:
    person_id: UUID = row["id"]
    return Principal(
        kind="person",
        id=f"person:{person_id}",
        person_id=person_id,
        name=f"{row['given_name']} {row['family_name']}".strip(),
        locale=row["locale"],
        roles=known_roles(row["roles"] or {}),
        time_zone=row["time_zone"],
        has_reports=row["has_reports"],
    )


def _unauthenticated() -> Problem:
    return Problem(
        401, "unauthenticated", "Sign in first", "The request carries no credentials that hold.",
        remedy="Send a valid bearer token, or sign in.", headers={"WWW-Authenticate": 'Bearer realm="medled"'},
    )  # fmt: skip
