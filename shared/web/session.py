"""The session: a signed cookie that says who signed in, set by the portal and read by every service.

It identifies and nothing more, like the issuer's token that it stands for. Its times are the machine's own, not the
shifted clock's: a demo in which a month passes signs nobody out.
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from starlette.requests import Request
from starlette.responses import Response

from shared.settings import Settings

COOKIE = "medled_session"
LASTS_SECONDS = 8 * 3600


@dataclass(frozen=True, slots=True)
class Session:
    """Who signed in: `subject` at `issuer`, called `name`."""

    issuer: str
    subject: str
    name: str


def seal(settings: Settings, purpose: str, claims: dict[str, Any], *, seconds: int) -> str:
    """Claims as signed text that holds for `seconds`. What is sealed for one purpose opens for no other."""
    now = int(time.time())
    return jwt.encode({"alg": "HS256"}, {**claims, "iat": now, "exp": now + seconds}, _key(settings, purpose))


def unseal(settings: Settings, purpose: str, sealed: str) -> dict[str, Any] | None:
    """What was sealed; None when it was tampered with, has ended or was for something else."""
    try:
        claims = jwt.decode(sealed, _key(settings, purpose), algorithms=["HS256"]).claims
        jwt.JWTClaimsRegistry(exp={"essential": True}).validate(claims)
    except (JoseError, ValueError, TypeError):
        return None
    return dict(claims)


def _key(settings: Settings, purpose: str) -> OctKey:
    secret = settings.session_secret.get_secret_value()
    return OctKey.import_key(hashlib.sha256(f"medled:{purpose}:{secret}".encode()).digest())


def set_session(response: Response, settings: Settings, *, subject: str, name: str) -> None:
    """Sign `subject` of the configured issuer in."""
    claims = {"iss": settings.oidc_issuer, "sub": subject, "name": name}
    sealed = seal(settings, "session", claims, seconds=LASTS_SECONDS)
    set_cookie(response, settings, COOKIE, sealed, seconds=LASTS_SECONDS)


def clear_session(response: Response, settings: Settings) -> None:
    """Sign out."""
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
    claims = unseal(settings, "session", sealed) if sealed else None
    if claims is None or claims.get("iss") != settings.oidc_issuer or not isinstance(claims.get("sub"), str):
        return None
    return Session(claims["iss"], claims["sub"], str(claims.get("name") or claims["sub"]))
