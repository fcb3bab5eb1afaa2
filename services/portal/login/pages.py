"""Signing in and out, for the pages of every service."""

from dataclasses import asdict
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import RedirectResponse, Response

from services.portal.login.domain import LoginAttempt, new_login_attempt
from services.portal.login.oidc import LoginRejectedError, OidcClient
from services.portal.settings import PortalSettings
from shared.directory.handlers import end_sessions
from shared.errors import ProblemError
from shared.events import SessionEnded
from shared.http.request import now, pool
from shared.messaging import outbox
from shared.postgres.transaction import transaction
from shared.security.credentials import resolve_credentials
from shared.security.oidc import IssuerUnavailableError
from shared.security.principal import Principal
from shared.security.same_origin import form_guard
from shared.security.session import (
    PendingSignIn,
    Session,
    clear_session,
    read_session,
    set_cookie,
    set_pending_sign_in,
    set_session,
    sign_claims,
    verify_claims,
)
from shared.web.render import render

log = structlog.get_logger(__name__)
router = APIRouter(include_in_schema=False)

_LASTS_SECONDS = 600
_PURPOSE = "login"


def client_for(settings: PortalSettings) -> OidcClient:
    """The client that `app.state.oidc` holds."""
    secret = settings.oidc_client_secret
    return OidcClient(
        settings.oidc_issuer,
        settings.oidc_client_id,
        secret.get_secret_value() if secret else None,
        f"{settings.public_url.rstrip('/')}/callback",
        login_claim=settings.oidc_login_claim,
    )


@router.get("/login")
async def login(request: Request, next: Annotated[str | None, Query()] = None) -> Response:  # noqa: A002
    attempt = new_login_attempt(next)
    try:
        response = RedirectResponse(await _client(request).authorization_url(attempt), 303)
    except IssuerUnavailableError as error:
        raise _unavailable(error) from error
    settings = request.app.state.settings
    sealed = sign_claims(settings, _PURPOSE, asdict(attempt), seconds=_LASTS_SECONDS)
    set_cookie(response, settings, _cookie(attempt.state), sealed, seconds=_LASTS_SECONDS)
    return response


@router.get("/callback")
async def callback(
    request: Request,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str, Query(max_length=4000)] = "",
) -> Response:
    attempt = _attempt(request, state)
    if attempt is None or not code:
        return render(request, None, "login_failed.html", status=400)
    try:
        account, name = await _client(request).redeem(attempt, code)
    except LoginRejectedError as error:
        log.warning("login.rejected", reason=str(error))
        return render(request, None, "login_failed.html", status=400)
    except IssuerUnavailableError as error:
        raise _unavailable(error) from error
    settings = request.app.state.settings
    held = (await resolve_credentials(pool(request), [account], now(request)))[account]
    if isinstance(held, Principal) and held.person_id is not None:
        response = RedirectResponse(attempt.next, 303)
        set_session(response, settings, person_id=held.person_id, subject=account.subject, name=name)
    else:  # who it is, the service that binds accounts says
        response = RedirectResponse("/enrolment/sign-in", 303)
        set_pending_sign_in(response, settings, PendingSignIn(account, name, attempt.next))
    set_cookie(response, settings, _cookie(state), "", seconds=0)
    return response


@router.get("/logout")
async def logout_page(request: Request) -> Response:
    return render(request, None, "logout.html", signed_in=read_session(request) is not None)


@router.post("/logout", dependencies=[Depends(form_guard)])
async def logout(request: Request) -> Response:
    settings = request.app.state.settings
    session = read_session(request)
    if session is not None:
        await _end(request, session)
    goodbye = f"{settings.public_url.rstrip('/')}/logout"
    response = RedirectResponse(await _client(request).logout_url(goodbye) or "/logout", 303)
    clear_session(response, settings)
    return response


async def _end(request: Request, session: Session) -> None:
    """Here at once, in the other services as soon as they have the event: a copy of the cookie is worth nothing."""
    ended = SessionEnded(session_id=session.id, until=session.until)
    async with transaction(pool(request)) as conn:
        await end_sessions(conn, [ended])
        await outbox.add(conn, ended, now=now(request))


def _client(request: Request) -> OidcClient:
    found: OidcClient = request.app.state.oidc
    return found


def _attempt(request: Request, state: str) -> LoginAttempt | None:
    """What this browser set out with; None when it was another browser, too long ago, or made up."""
    sealed = request.cookies.get(_cookie(state))
    claims = verify_claims(request.app.state.settings, _PURPOSE, sealed) if sealed else None
    if claims is None or claims.get("state") != state:
        return None
    return LoginAttempt(state, str(claims["nonce"]), str(claims["verifier"]), str(claims["next"]))


def _cookie(state: str) -> str:
    """One cookie per attempt: a browser that restores three tabs signs in three times at once."""
    safe = "".join(char for char in state[:12] if char.isalnum() or char in "-_")
    return f"medled_login_{safe}"


def _unavailable(error: IssuerUnavailableError) -> ProblemError:
    log.warning("issuer unavailable", reason=str(error))
    return ProblemError(
        503, "issuer-unavailable", "Signing in is not possible right now", "The identity provider does not answer.",
        remedy="Try again shortly.", headers={"Retry-After": "5"},
    )  # fmt: skip
