"""The link in an invitation (ADR 0004): feedback keeps its hash, notifications derives it for the mail.

Both hold the same secret, so no event, outbox row or log ever needs to carry a token.
"""

import base64
import hashlib
import hmac
from uuid import UUID


def token_for(secret: bytes, invitation_id: UUID) -> str:
    """The invitation's single-use token: 43 characters that fit a URL, not to be guessed without the secret."""
    digest = hmac.new(secret, b"medled-invitation:" + invitation_id.bytes, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def token_hash(token: str) -> bytes:
    """What may be stored of a token."""
    return hashlib.sha256(token.encode()).digest()


def revocation_hash(token: str) -> bytes:
    """What is stored when a token is taken back: nobody without the token can tell which `token_hash` it belongs to."""
    return hashlib.sha256(b"revoked:" + token.encode()).digest()


def link(public_url: str, token: str) -> str:
    """Where the respondent answers. `public_url` has no trailing slash."""
    return f"{public_url}/feedback/r/{token}"
