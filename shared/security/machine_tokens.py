"""Tokens of machines: `mlt_...`, shown once, stored as a digest."""

import hashlib
import secrets
from datetime import datetime

from shared.events.access import AccessState
from shared.events.vocabulary import PrincipalKind
from shared.ids import new_id
from shared.security.principal import Roles

TOKEN_PREFIX = "mlt_"  # noqa: S105 - what a token begins with, so that scanners find one that leaked


def token_digest(token: str) -> bytes:
    """What is stored of a machine's token. It is random enough (32 bytes) to need no slow hash."""
    return hashlib.sha256(token.encode()).digest()


def issue_token(name: str, roles: Roles, expires_at: datetime | None) -> tuple[str, AccessState]:
    """A new machine token: the text to show once, and the state to store and announce."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    state = AccessState(
        principal=f"machine:{new_id()}",
        kind=PrincipalKind.machine,
        name=name,
        token_hash=token_digest(token).hex(),
        roles={role.value: None if units is None else tuple(sorted(units)) for role, units in roles.items()},
        expires_at=expires_at,
    )
    return token, state
