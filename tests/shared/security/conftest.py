"""An app in a database of its own, and an issuer of its own."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from tests.shared.security.signed_app import HandIssuer, an_app
from tests.support.databases import Databases
from tests.support.serving import client_of, on_a_port


@pytest.fixture
async def issuer() -> AsyncIterator[HandIssuer]:
    issuer = HandIssuer()
    async with on_a_port(issuer.app) as issuer.url:
        yield issuer


@pytest.fixture
async def app(database: Databases, issuer: HandIssuer) -> FastAPI:
    return an_app(await database("feedback"), issuer.url)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client
