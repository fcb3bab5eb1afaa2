"""The issuer's key and the tokens it signs."""

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from deploy.issuer.settings import IssuerSettings

ACCESS_SECONDS = 12 * 3600
ID_SECONDS = 600


class Signer:
    """Signs as the configured issuer with one RSA key, kept in a file when one is set."""

    def __init__(self, settings: IssuerSettings) -> None:
        self._settings = settings
        self._key = _load_or_make(settings.issuer_key)

    def key_set(self) -> dict[str, Any]:
        """The public key, as a JWK set."""
        published = KeySet([self._key]).as_dict(private=False)
        return {"keys": [{**key, "use": "sig", "alg": "RS256"} for key in published["keys"]]}

    def access_token(self, subject: str) -> str:
        """What a client sends to Medled's services; it says who, and nothing about what they may do."""
        claims = {"aud": self._settings.oidc_audience, "jti": secrets.token_urlsafe(12)}
        return self._sign("at+jwt", subject, ACCESS_SECONDS, claims)

    def id_token(self, subject: str, name: str, nonce: str | None) -> str:
        """What tells the portal who signed in."""
        claims = {"aud": self._settings.oidc_client_id, "azp": self._settings.oidc_client_id, "name": name}
        return self._sign("JWT", subject, ID_SECONDS, claims if nonce is None else {**claims, "nonce": nonce})

    def _sign(self, kind: str, subject: str, seconds: int, claims: dict[str, Any]) -> str:
        now = int(time.time())
        claims = {"iss": self._settings.issuer, "sub": subject, "iat": now, "exp": now + seconds, **claims}
        return jwt.encode({"alg": "RS256", "typ": kind, "kid": self._key.kid}, claims, self._key)


def _load_or_make(path: Path | None) -> RSAKey:
    if path is not None and path.is_file():
        return RSAKey.import_key(json.loads(path.read_text()))
    key = RSAKey.generate_key(2048, {"kid": secrets.token_hex(8)})
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(key.as_dict(private=True), file)
    return key
