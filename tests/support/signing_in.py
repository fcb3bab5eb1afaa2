"""Somebody who is signed in: the session's cookie, and the account bound to a person."""

from typing import Any
from uuid import UUID

from shared.events.sessions import SESSION_SECONDS
from shared.ids import random_id
from shared.postgres.pool import Pool
from shared.security.session import COOKIE, new_session, sign_claims, verify_claims
from shared.settings import Settings

ISSUER = "http://127.0.0.1:8081"
"""The issuer that settings for tests name."""

PEOPLE: dict[str, UUID] = {}
"""Who was added last under each login, as helpers of tests add people: tests name them by it."""


def session_of(settings: Settings, login: str, *, seconds: int = SESSION_SECONDS, **changes: Any) -> str:
    """The session of the person that was added under this login; of nobody, when there is none."""
    genuine = (
        verify_claims(settings, "session", new_session(settings, PEOPLE.get(login) or random_id(), login, login)) or {}
    )
    return sign_claims(settings, "session", genuine | changes, seconds=seconds)


def signed_in(settings: Settings, login: str, **changes: Any) -> dict[str, str]:
    """The same, as a request's header."""
    return {"cookie": f"{COOKIE}={session_of(settings, login, **changes)}"}


async def bind(pool: Pool, person_id: UUID, subject: str, issuer: str = ISSUER) -> None:
    """Bind an account to a person, in a service's own copy."""
    await pool.execute(
        "insert into sign_ins (issuer, subject, person_id) values ($1, $2, $3)", issuer, subject, person_id
    )
