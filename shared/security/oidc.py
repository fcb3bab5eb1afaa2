"""Tokens of the organisation's identity provider: who signed them, for whom, and whether they still hold.

Discovery is OpenID Connect Discovery 1.0, checks follow RFC 7519 and RFC 8725 (a fixed list of algorithms, exact issuer
and audience).
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

# Asymmetric only: whoever could pick HS256 would sign with the public key, `none` with nothing at all.
ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"]
LEEWAY_SECONDS = 60
_KEYS_KEPT_SECONDS = 3600
_REFRESH_AT_MOST_EVERY_SECONDS = 10  # made-up key ids must not turn us into a hammer on the issuer
_LONGEST_TOKEN = 16_384
_KEY_TYPES: dict[str, type[RSAKey] | type[ECKey] | type[OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


class IssuerUnavailableError(Exception):
    """The issuer cannot be reached or does not answer as one; nothing can be said about its tokens now."""


class InvalidTokenError(Exception):
    """The token is not the issuer's, not for us, or does not hold now."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account at the issuer. `login` is what HR may know the person by; it matters at the first sign-in alone.

    until: when the token that spoke of it ends, in seconds since 1970.
    """

    issuer: str
    subject: str
    login: str | None
    until: float


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token speaks of."""

    issuer: str
    subject: str
    claims: dict[str, Any]

    def account(self, login_claim: str) -> Account:
        """The account, with the login that this claim carries, if it does."""
        login = self.claims.get(login_claim)
        held = login if isinstance(login, str) and login.strip() else None
        return Account(self.issuer, self.subject, held, float(self.claims["exp"]) + LEEWAY_SECONDS)


class TokenVerifier:
    """Checks tokens of one issuer. Its keys are fetched when first needed and kept; an unknown key id fetches anew.

    Time is the machine's own, not the shifted clock of a demo: the issuer knows nothing of that one.
    """

    def __init__(self, issuer: str, audience: str, *, now: Callable[[], float] = time.time) -> None:
        self._issuer = issuer
        self._audience = audience
        self._now = now
        self._keys: KeySet | None = None
        self._fetched_at = 0.0
        self._fetching = asyncio.Lock()

    async def verify(self, token: str) -> Identity:
        """The identity an access token gives. Raises InvalidTokenError, or IssuerUnavailableError."""
        if len(token) > _LONGEST_TOKEN:
            raise InvalidTokenError("too long")
        keys = await self._key_set(newer_than=time.monotonic() - _KEYS_KEPT_SECONDS)
        try:
            claims = _decode(token, keys)
        except InvalidKeyIdError:
            keys = await self._key_set(newer_than=time.monotonic() - _REFRESH_AT_MOST_EVERY_SECONDS)
            try:
                claims = _decode(token, keys)
            except (JoseError, ValueError, TypeError) as error:
                raise InvalidTokenError("signed by a key that the issuer does not publish") from error
        except (JoseError, ValueError, TypeError) as error:
            raise InvalidTokenError("malformed, or the signature does not hold") from error
        self._check(claims)
        return Identity(claims["iss"], claims["sub"], claims)

    def _check(self, claims: dict[str, Any]) -> None:
        required = jwt.JWTClaimsRegistry(
            now=lambda: int(self._now()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            sub={"essential": True},
            exp={"essential": True},
        )
        try:
            required.validate(claims)
        except (JoseError, ValueError, TypeError) as error:
            raise InvalidTokenError(str(error)) from error
        if not isinstance(claims["sub"], str) or not claims["sub"]:
            raise InvalidTokenError("no subject")

    async def _key_set(self, *, newer_than: float) -> KeySet:
        if self._keys is not None and self._fetched_at > newer_than:
            return self._keys
        async with self._fetching:  # many requests, one fetch
            if self._keys is None or self._fetched_at <= newer_than:
                self._keys = await self._fetch()
                self._fetched_at = time.monotonic()
            return self._keys

    async def _fetch(self) -> KeySet:
        async with issuer_client() as client:
            metadata = await discover(client, self._issuer)
            published = await _document(client, str(metadata.get("jwks_uri")))
        try:
            return _signing_keys(published["keys"])
        except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise IssuerUnavailableError("the issuer's keys are none") from error


def issuer_client() -> httpx.AsyncClient:
    """A client for requests to the issuer: somebody waits for the answer, and no proxy of the environment is asked."""
    return httpx.AsyncClient(timeout=5, trust_env=False)


async def discover(client: httpx.AsyncClient, issuer: str) -> dict[str, Any]:
    """What the issuer says about itself (OpenID Connect Discovery 1.0, section 4). Raises IssuerUnavailableError."""
    metadata = await _document(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if metadata.get("issuer") != issuer:
        raise IssuerUnavailableError("the issuer calls itself something else than MEDLED_OIDC_ISSUER")
    return metadata


async def _document(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    try:
        document = (await client.get(url)).raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise IssuerUnavailableError(f"{url} does not answer as an issuer should") from error
    if not isinstance(document, dict):
        raise IssuerUnavailableError(f"{url} does not answer as an issuer should")
    return document


def _signing_keys(published: list[dict[str, Any]]) -> KeySet:
    usable = [key for key in published if key.get("kty") in _KEY_TYPES and key.get("use", "sig") == "sig"]
    return KeySet([_KEY_TYPES[key["kty"]].import_key(key) for key in usable])


def _decode(token: str, keys: KeySet) -> dict[str, Any]:
    return dict(jwt.decode(token, keys, algorithms=ALGORITHMS).claims)
