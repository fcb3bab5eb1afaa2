"""An app that tells who asks, and an issuer whose keys and answers the test holds in its hand."""

import time
from typing import Annotated, Any
from uuid import UUID

import httpx
from fastapi import APIRouter, Depends, FastAPI
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.feedback.service import SERVICE
from shared.http.app import Api, create_app
from shared.security.authentication import optional_principal, principal
from shared.security.principal import Principal
from shared.settings import Settings
from tests.support.directory import add_person
from tests.support.settings import make_settings
from tests.support.signing_in import bind

router = APIRouter()


@router.get("/feedback/v1/whoami")
async def whoami(who: Annotated[Principal, Depends(principal)]) -> dict[str, Any]:
    roles = {role: None if units is None else sorted(map(str, units)) for role, units in who.roles.items()}
    return {"id": who.id, "kind": who.kind, "name": who.name, "roles": roles}


@router.post("/feedback/v1/whoami")
async def change_me(who: Annotated[Principal, Depends(principal)]) -> str:
    return who.id


@router.get("/feedback/page")
async def page(who: Annotated[Principal | None, Depends(optional_principal)]) -> str:
    return who.name if who else "nobody"


@router.get("/feedback/mine")
async def mine(who: Annotated[Principal, Depends(principal)]) -> str:
    return who.name


class HandIssuer:
    """An issuer whose keys and answers the test holds in its hand."""

    def __init__(self) -> None:
        self.keys: list[RSAKey | ECKey] = [RSAKey.generate_key(2048, {"kid": "first"})]
        self.fetched = 0
        self.url = ""
        self.app = Starlette(
            routes=[Route("/.well-known/openid-configuration", self._metadata), Route("/jwks", self._published)]
        )

    async def _metadata(self, _: Request) -> Response:
        return JSONResponse({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"})

    async def _published(self, _: Request) -> Response:
        self.fetched += 1
        unknown = {"kty": "NEW", "kid": "from the future"}
        return JSONResponse({"keys": [unknown, *KeySet(list(self.keys)).as_dict(private=False)["keys"]]})

    def token(self, *, key: Any = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        key = key or self.keys[-1]
        now = int(time.time())
        full = {"iss": self.url, "aud": "medled", "sub": "anna", "iat": now, "exp": now + 300} | claims
        kept = {name: value for name, value in full.items() if value is not None}
        header = {"alg": "ES256" if isinstance(key, ECKey) else "RS256", "kid": key.kid} | (header or {})
        return jwt.encode(header, kept, key, algorithms=[header["alg"]])


def an_app(dsn: str, issuer_url: str) -> FastAPI:
    settings = make_settings(Settings, dsn, oidc_issuer=issuer_url)
    return create_app(settings, SERVICE, Api(title="Test", description="", routers=[router]))


async def add_anna(app: FastAPI, **more: Any) -> UUID:
    """Anna, who has signed in before."""
    person_id = await add_person(app.state.pool, "anna", **more)
    await bind(app.state.pool, person_id, "anna", app.state.settings.oidc_issuer)
    return person_id


async def ask(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get("/feedback/v1/whoami", headers={"authorization": f"Bearer {token}"})
