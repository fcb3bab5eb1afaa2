"""An attempt to sign in, and where a person may be sent afterwards."""

import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """What the browser keeps, sealed, between leaving for the issuer and coming back."""

    state: str
    nonce: str
    verifier: str
    next: str


def new_login_attempt(next_path: str | None) -> LoginAttempt:
    """A fresh attempt; every value is unguessable."""
    return LoginAttempt(
        secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), safe_next(next_path)
    )


def safe_next(path: str | None) -> str:
    """A path on this origin, or the front page.

    Refuses what a browser could read as another origin: an authority (`//host`, `/\\host`), a scheme, control
    characters and white space that browsers drop; and the login pages, which would go round in circles.
    """
    if not path or not path.startswith("/") or len(path) > 2000:
        return "/"
    if path.startswith("//") or "\\" in path or any(ord(char) <= 0x20 or ord(char) == 0x7F for char in path):
        return "/"
    try:
        parts = urlsplit(path)
    except ValueError:
        return "/"
    if parts.scheme or parts.netloc or parts.path in ("/login", "/logout", "/callback"):
        return "/"
    return path
