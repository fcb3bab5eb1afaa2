"""Authorisation codes: kept in memory, for a minute, for one use (RFC 6749 section 4.1, RFC 7636)."""

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field

LIVES_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Grant:
    """What a code stands for."""

    subject: str
    redirect_uri: str
    challenge: str
    nonce: str | None
    expires_at: float


@dataclass(slots=True)
class Codes:
    """Codes that were given out and not yet redeemed."""

    _grants: dict[str, Grant] = field(default_factory=dict, init=False)

    def give(self, subject: str, *, redirect_uri: str, challenge: str, nonce: str | None) -> str:
        """A new code."""
        now = time.monotonic()
        for code in [code for code, grant in self._grants.items() if grant.expires_at < now]:
            del self._grants[code]
        code = secrets.token_urlsafe(24)
        self._grants[code] = Grant(subject, redirect_uri, challenge, nonce, now + LIVES_SECONDS)
        return code

    def redeem(self, code: str, *, redirect_uri: str, verifier: str) -> Grant | None:
        """What the code stands for, if it holds; it is spent either way."""
        grant = self._grants.pop(code, None)
        if grant is None or grant.expires_at < time.monotonic() or grant.redirect_uri != redirect_uri:
            return None
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        return grant if secrets.compare_digest(digest, grant.challenge) else None
