"""The session: a signed cookie that says who signed in, set where somebody does and read by every service.

It identifies and nothing more, like the issuer's token that it stands for. Its times are the machine's own, not the
shifted clock's: a demo in which a month passes signs nobody out.
"""

import hashlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from starlette.requests import Request
from starlette.responses import Response

from shared.events.sessions import SESSION_SECONDS
from shared.ids import random_id
from shared.security.oidc import Account
from shared.settings import Settings

COOKIE = "medled_session"
_PENDING_COOKIE = "medled_arrival"
_PENDING_SECONDS = 120
_LONGEST_KEPT = 2048  # characters of a cookie that is remembered once it was read; ours have some 500


@dataclass(frozen=True, slots=True)
class Session:
    """Who signed in, and when: `subject` at `issuer`, called `name` there, bound to the person."""

    id: UUID
    person_id: UUID
    issuer: str
    subject: str
    name: str
    began: datetime

    @property
    def until(self) -> datetime:
        """When it ends by itself."""
        return self.began + timedelta(seconds=SESSION_SECONDS)


def sign_claims(settings: Settings, purpose: str, claims: dict[str, Any], *, seconds: int) -> str:
    """Claims as signed text that holds for `seconds`. What is sealed for one purpose opens for no other."""
    now = int(time.time())
    return jwt.encode({"alg": "HS256"}, {**claims, "iat": now, "exp": now + seconds}, _key(settings, purpose))


def verify_claims(settings: Settings, purpose: str, sealed: str) -> dict[str, Any] | None:
    """What was sealed; None when it was tampered with, has ended or was for something else."""
    return _verify(_key(settings, purpose), sealed)


def _verify(key: OctKey, sealed: str) -> dict[str, Any] | None:
    try:
        claims = jwt.decode(sealed, key, algorithms=["HS256"]).claims
        jwt.JWTClaimsRegistry(exp={"essential": True}).validate(claims)
    except (JoseError, ValueError, TypeError):
        return None
    return dict(claims)


def _key(settings: Settings, purpose: str) -> OctKey:
    return _key_of(settings.session_secret.get_secret_value(), purpose)


def _key_of(secret: str, purpose: str) -> OctKey:
    return OctKey.import_key(hashlib.sha256(f"medled:{purpose}:{secret}".encode()).digest())


def set_session(response: Response, settings: Settings, *, person_id: UUID, subject: str, name: str) -> None:
    """Sign in: a new session of the person to whom `subject` of the configured issuer is bound."""
    set_cookie(response, settings, _PENDING_COOKIE, "", seconds=0)
    set_cookie(response, settings, COOKIE, new_session(settings, person_id, subject, name), seconds=SESSION_SECONDS)


def new_session(settings: Settings, person_id: UUID, subject: str, name: str) -> str:
    """A session as its cookie holds it."""
    claims = {
        "iss": settings.oidc_issuer, "sub": subject, "name": name, "person": str(person_id), "sid": str(random_id()),
        "began": time.time(),
    }  # fmt: skip
    return sign_claims(settings, "session", claims, seconds=SESSION_SECONDS)


def clear_session(response: Response, settings: Settings) -> None:
    """Take the cookie from this browser; a copy of it ends by `ended_sessions`."""
    set_cookie(response, settings, COOKIE, "", seconds=0)


def set_cookie(response: Response, settings: Settings, name: str, value: str, *, seconds: int) -> None:
    """A cookie that scripts cannot read and other sites' forms do not carry."""
    response.set_cookie(
        name, value, max_age=seconds, path="/", httponly=True, samesite="lax",
        secure=settings.public_url.startswith("https://"),
    )  # fmt: skip


def read_session(request: Request) -> Session | None:
    """Who is signed in, if anybody is."""
    sealed = request.cookies.get(COOKIE)
    settings: Settings = request.app.state.settings
    if not sealed:
        return None
    read = _session_in if len(sealed) <= _LONGEST_KEPT else _session_in.__wrapped__
    try:
        session, until = read(settings.session_secret.get_secret_value(), settings.oidc_issuer, sealed)
    except _NoSessionError:
        return None
    return session if time.time() < until else None


class _NoSessionError(Exception):
    """It may be one in a moment, for a clock that goes behind the signer's: so this is not remembered."""


@lru_cache(maxsize=1024)
def _session_in(secret: str, issuer: str, sealed: str) -> tuple[Session, float]:
    """What a cookie says, and until when; the same each time, so it is worked out once.

    Whether it still counts is no part of it: that is asked of the database for every request.
    """
    claims = _verify(_key_of(secret, "session"), sealed)
    if claims is None or claims.get("iss") != issuer:
        raise _NoSessionError
    try:
        return Session(
            UUID(claims["sid"]), UUID(claims["person"]), claims["iss"], claims["sub"], str(claims["name"]),
            datetime.fromtimestamp(claims["began"], UTC),
        ), float(claims["exp"])  # fmt: skip
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise _NoSessionError from error  # of 0.1.0, which knew neither the person nor how to end it


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """Somebody who comes from the issuer with an account that nobody is known by yet, called `name` there."""

    account: Account
    name: str
    next: str


def set_pending_sign_in(response: Response, settings: Settings, arrival: PendingSignIn) -> None:
    """Let this browser carry an arrival to the service that binds accounts: in a cookie, so no link can plant one."""
    account = arrival.account
    claims = {
        "iss": account.issuer, "sub": account.subject, "login": account.login, "name": arrival.name,
        "next": arrival.next,
    }  # fmt: skip
    sealed = sign_claims(settings, "arrival", claims, seconds=_PENDING_SECONDS)
    set_cookie(response, settings, _PENDING_COOKIE, sealed, seconds=_PENDING_SECONDS)


def read_pending_sign_in(request: Request) -> PendingSignIn | None:
    """What the portal handed over; None when it did not, or too long ago."""
    sealed = request.cookies.get(_PENDING_COOKIE)
    settings: Settings = request.app.state.settings
    claims = verify_claims(settings, "arrival", sealed) if sealed else None
    if claims is None or claims.get("iss") != settings.oidc_issuer:
        return None
    account = Account(claims["iss"], claims["sub"], claims["login"], float(claims["exp"]))
    return PendingSignIn(account, claims["name"], claims["next"])
