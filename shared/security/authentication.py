"""Authentication: who is asking. What they may do is decided in `shared.security.authorization`.

A person comes with a bearer token of the issuer or with the session cookie that signing in set; a machine with a token
of ours (`mlt_...`). All three only identify: roles come from this service's own tables, so a revoked one ends at once.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

import structlog
from fastapi import Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from shared.errors import ProblemError
from shared.security.credentials import Credential, MachineToken, Resolution, Unresolved, resolve_credentials
from shared.security.machine_tokens import TOKEN_PREFIX, token_digest
from shared.security.oidc import Account, InvalidTokenError, IssuerUnavailableError, TokenVerifier
from shared.security.principal import Principal
from shared.security.same_origin import must_be_same_origin
from shared.security.session import Session, read_session

log = structlog.get_logger(__name__)
_bearer = HTTPBearer(auto_error=False, description="An access token of the issuer, or a machine token `mlt_...`.")

FirstSignIn = Callable[[Request, Account], Awaitable[object]]
"""Binds an account to the person whose login it has, or raises. Only the owner of the bindings has one, as
`app.state.first_sign_in`."""


async def principal(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None
) -> Principal:
    """FastAPI dependency: who is asking.

    Raises ProblemError 401, the same for every reason (browsers are sent to the login page); 403 for somebody who is
    signed in but not, or no longer, in the people register; 503 when the issuer cannot be asked for its keys.
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
    credential = await _presented(request)
    if credential is None:
        return None
    request.state.credential = credential
    held = await _holder(request, credential)
    first_sign_in: FirstSignIn | None = getattr(request.app.state, "first_sign_in", None)
    if first_sign_in is not None and isinstance(credential, Account) and not isinstance(held, Principal):
        await first_sign_in(request, credential)
        held = await _holder(request, credential)
    if isinstance(held, Principal):
        return held
    if held is Unresolved.ENDED:
        if isinstance(credential, Session):
            return None
        raise _unauthenticated()
    raise _unbound() if held is Unresolved.UNBOUND else _not_here()


async def _presented(request: Request) -> Credential | None:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer" or not credentials:
            raise _unauthenticated()
        if credentials.startswith(TOKEN_PREFIX):
            return MachineToken(token_digest(credentials))
        return await _account(request, credentials)
    session = read_session(request)
    if session is not None:
        must_be_same_origin(request)  # a cookie travels by itself, so here the page that sends the request must be ours
    return session


async def _holder(request: Request, credential: Credential) -> Resolution:
    state = request.app.state
    return (await resolve_credentials(state.pool, [credential], state.clock.now()))[credential]


async def _account(request: Request, token: str) -> Account:
    verifier: TokenVerifier = request.app.state.token_verifier
    try:
        return (await verifier.verify(token)).account(request.app.state.settings.oidc_login_claim)
    except InvalidTokenError as error:
        raise _unauthenticated() from error
    except IssuerUnavailableError as error:
        log.warning("issuer unavailable", reason=str(error))
        raise ProblemError(
            503, "issuer-unavailable", "Signing in is not possible right now", "The identity provider does not answer.",
            remedy="Try again shortly.", headers={"Retry-After": "5"},
        ) from error  # fmt: skip


def _not_here() -> ProblemError:
    return ProblemError(
        403, "unknown-person", "You are not in the people register",
        "You are signed in, but as no active person in the organisation.",
        remedy="Ask the programme office whether HR has reported you yet.",
    )  # fmt: skip


def _unbound() -> ProblemError:
    return ProblemError(
        403, "sign-in-unbound", "This account has not signed in before",
        "This service has not heard yet which person the account is.",
        remedy="Sign in once in the browser, or call GET /enrolment/v1/me with this token; every service knows it "
        "seconds later.",
    )  # fmt: skip


def _unauthenticated() -> ProblemError:
    return ProblemError(
        401, "unauthenticated", "Sign in first", "The request carries no credentials that hold.",
        remedy="Send a valid bearer token, or sign in.", headers={"WWW-Authenticate": 'Bearer realm="medled"'},
    )  # fmt: skip
