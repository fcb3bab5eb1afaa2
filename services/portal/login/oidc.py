"""The OIDC code flow with PKCE (OpenID Connect Core 3.1, RFC 7636), against one issuer.

httpx and joserfc carry it directly: authlib's client for httpx is deprecated and warns at import.
"""

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

_TIMEOUT = httpx.Timeout(5)
_KEEP_SECONDS = 600
_LEEWAY = 30
_ALGORITHMS = [
    "RS256",
    "PS256",
    "ES256",
    "EdDSA",
    "Ed25519",
]  # asymmetric only: a client secret must not sign identities


class IssuerUnavailableError(Exception):
    """The issuer cannot be reached or answers nonsense."""


class LoginRejectedError(Exception):
    """The issuer refused, or what it gave does not hold."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the browser keeps between leaving for the issuer and coming back."""

    state: str
    nonce: str
    verifier: str
    next: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the issuer says has signed in; `id_token` is handed back at logout."""

    issuer: str
    subject: str
    name: str
    locale: str
    id_token: str


@dataclass(frozen=True, slots=True)
class _Issuer:
    metadata: dict[str, Any]
    keys: KeySet
    fetched_at: float


def new_attempt(next_path: str) -> Attempt:
    """A fresh attempt; every value is unguessable."""
    return Attempt(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), next_path)


class OidcClient:
    """Talks to one issuer; keeps its metadata and keys for ten minutes and looks anew when a key is unknown."""

    def __init__(self, issuer: str, client_id: str, client_secret: str | None, redirect_uri: str) -> None:
        self._issuer_url = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        self._issuer: _Issuer | None = None

    async def authorization_url(self, attempt: Attempt) -> str:
        """Where to send the browser. Raises IssuerUnavailableError."""
        issuer = await self._discover()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": "openid profile",
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        endpoint = str(issuer.metadata["authorization_endpoint"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def redeem(self, attempt: Attempt, code: str) -> Identity:
        """Exchange the code for an ID token and check it. Raises IssuerUnavailableError or LoginRejectedError."""
        issuer = await self._discover()
        answer = await self._exchange(str(issuer.metadata["token_endpoint"]), attempt, code)
        id_token = answer.get("id_token")
        if not isinstance(id_token, str):
            raise LoginRejectedError("no ID token")
        try:
            claims = _claims(id_token, issuer.keys)
        except (JoseError, ValueError):
            # Perhaps the issuer has rotated its keys since we looked.
            issuer = await self._discover(anew=True)
            try:
                claims = _claims(id_token, issuer.keys)
            except (JoseError, ValueError) as error:
                raise LoginRejectedError("the ID token's signature does not hold") from error
        self._check(claims, attempt)
        return Identity(
            issuer=claims["iss"], subject=claims["sub"], locale=str(claims.get("locale") or ""),
            name=str(claims.get("name") or claims.get("preferred_username") or claims["sub"]), id_token=id_token,
        )  # fmt: skip

    async def logout_url(self, back_to: str) -> str | None:
        """Where the issuer ends its own session, if it offers that."""
        try:
            issuer = await self._discover()
        except IssuerUnavailableError:
            return None
        endpoint = issuer.metadata.get("end_session_endpoint")
        if not endpoint:
            return None
        query = urlencode({"client_id": self._client_id, "post_logout_redirect_uri": back_to})
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    async def _exchange(self, endpoint: str, attempt: Attempt, code: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "client_id": self._client_id,
            "code_verifier": attempt.verifier,
        }
        auth = httpx.BasicAuth(self._client_id, self._client_secret) if self._client_secret else httpx.Auth()
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as client:
                response = await client.post(endpoint, data=form, auth=auth, headers={"accept": "application/json"})
            body = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise IssuerUnavailableError("the token endpoint did not answer") from error
        if response.status_code >= 500:
            raise IssuerUnavailableError("the token endpoint failed")
        if response.status_code != 200 or not isinstance(body, dict):
            raise LoginRejectedError("the issuer did not accept the code")
        return body

    def _check(self, claims: dict[str, Any], attempt: Attempt) -> None:
        """OpenID Connect Core 3.1.3.7: issuer, audience, authorised party, time and nonce."""
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        now = time.time()
        holds = (
            claims.get("iss") == self._issuer_url
            and self._client_id in audiences
            and claims.get("azp", self._client_id) == self._client_id
            and (len(audiences) == 1 or "azp" in claims)
            and isinstance(claims.get("sub"), str)
            and claims["sub"] != ""
            and _number(claims.get("exp")) > now - _LEEWAY
            and _number(claims.get("iat")) < now + _LEEWAY
            and secrets.compare_digest(str(claims.get("nonce", "")), attempt.nonce)
        )
        if not holds:
            raise LoginRejectedError("the ID token is not for this login")

    async def _discover(self, *, anew: bool = False) -> _Issuer:
        kept = self._issuer
        if kept is not None and not anew and time.monotonic() - kept.fetched_at < _KEEP_SECONDS:
            return kept
        url = f"{self._issuer_url.rstrip('/')}/.well-known/openid-configuration"
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as client:
                metadata = (await client.get(url)).raise_for_status().json()
                keys = (await client.get(metadata["jwks_uri"])).raise_for_status().json()
            if metadata["issuer"] != self._issuer_url:
                raise IssuerUnavailableError("the issuer calls itself something else than MEDLED_OIDC_ISSUER")
            self._issuer = _Issuer(metadata, KeySet.import_key_set(keys), time.monotonic())
        except (httpx.HTTPError, ValueError, KeyError, TypeError, JoseError) as error:
            raise IssuerUnavailableError(f"{url} did not answer as an issuer should") from error
        return self._issuer


def _claims(token: str, keys: KeySet) -> dict[str, Any]:
    return dict(jwt.decode(token, keys, algorithms=_ALGORITHMS).claims)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
