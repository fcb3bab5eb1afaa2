"""The OIDC code flow with PKCE (OpenID Connect Core 3.1, RFC 7636) against one issuer, carried by httpx.

authlib's client for httpx is deprecated and warns at import; what remains to do by hand is two requests.
"""

import base64
import hashlib
import secrets
import time
from typing import Any
from urllib.parse import urlencode

import httpx

from services.portal.login.domain import LoginAttempt
from shared.security.oidc import (
    Account,
    InvalidTokenError,
    IssuerUnavailableError,
    TokenVerifier,
    discover,
    issuer_client,
)

_KEEP_SECONDS = 600


class LoginRejectedError(Exception):
    """The issuer refused, or what it gave does not hold for this attempt."""


class OidcClient:
    """Signs people in at one issuer; keeps its metadata for ten minutes."""

    def __init__(
        self, issuer: str, client_id: str, client_secret: str | None, redirect_uri: str, *, login_claim: str
    ) -> None:
        self._issuer = issuer
        self._login_claim = login_claim
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        # An ID token is for the client that asked, an access token for the API: the audiences differ.
        self._id_tokens = TokenVerifier(issuer, client_id)
        self._metadata: dict[str, Any] = {}
        self._fetched_at = 0.0

    async def authorization_url(self, attempt: LoginAttempt) -> str:
        """Where to send the browser. Raises IssuerUnavailableError."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest()).rstrip(b"=").decode()
        return _with_query(
            await self._endpoint("authorization_endpoint"),
            {
                "response_type": "code",
                "client_id": self._client_id,
                "redirect_uri": self._redirect_uri,
                "scope": "openid profile",
                "state": attempt.state,
                "nonce": attempt.nonce,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            },
        )

    async def redeem(self, attempt: LoginAttempt, code: str) -> tuple[Account, str]:
        """Exchange the code; returns the account and the name of who signed in.

        Raises IssuerUnavailableError or LoginRejectedError.
        """
        answer = await self._exchange(attempt, code)
        id_token = answer.get("id_token")
        if not isinstance(id_token, str):
            raise LoginRejectedError("no ID token came")
        try:
            identity = await self._id_tokens.verify(id_token)
        except InvalidTokenError as error:
            raise LoginRejectedError("the ID token does not hold") from error
        claims = identity.claims
        # OpenID Connect Core 3.1.3.7; issuer, audience, signature and times are checked already.
        several = isinstance(claims.get("aud"), list) and len(claims["aud"]) > 1
        authorised = claims.get("azp", None if several else self._client_id) == self._client_id
        if not authorised or not secrets.compare_digest(str(claims.get("nonce", "")).encode(), attempt.nonce.encode()):
            raise LoginRejectedError("the ID token is for another login")
        name = str(claims.get("name") or claims.get("preferred_username") or identity.subject)
        return identity.account(self._login_claim), name

    async def logout_url(self, back_to: str) -> str | None:
        """Where the issuer ends its own session; None when it offers no such place or does not answer."""
        try:
            endpoint = await self._endpoint("end_session_endpoint")
        except IssuerUnavailableError:
            return None
        return _with_query(endpoint, {"client_id": self._client_id, "post_logout_redirect_uri": back_to})

    async def _exchange(self, attempt: LoginAttempt, code: str) -> dict[str, Any]:
        endpoint = await self._endpoint("token_endpoint")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "client_id": self._client_id,
            "code_verifier": attempt.verifier,
        }
        auth = httpx.BasicAuth(self._client_id, self._client_secret) if self._client_secret else httpx.Auth()
        try:
            async with issuer_client() as client:
                response = await client.post(endpoint, data=form, auth=auth, headers={"accept": "application/json"})
            if response.status_code >= 500:
                raise IssuerUnavailableError("the token endpoint failed")
            body = response.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise IssuerUnavailableError("the token endpoint does not answer as it should") from error
        if response.status_code != 200 or not isinstance(body, dict):
            raise LoginRejectedError("the issuer did not accept the code")
        return body

    async def _endpoint(self, name: str) -> str:
        if not self._metadata or time.monotonic() - self._fetched_at > _KEEP_SECONDS:
            async with issuer_client() as client:
                self._metadata = await discover(client, self._issuer)
            self._fetched_at = time.monotonic()
        endpoint = self._metadata.get(name)
        if not isinstance(endpoint, str):
            raise IssuerUnavailableError(f"the issuer names no {name}")
        return endpoint


def _with_query(endpoint: str, query: dict[str, str]) -> str:
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"
