"""The contract as the portal serves it, to people and to programs."""

import base64
import hashlib
from collections.abc import AsyncIterator

import pytest
from httpx import ASGITransport, AsyncClient

from services.portal.service import SERVICE
from services.portal.settings import PortalSettings
from shared.events.contract.asyncapi import asyncapi


@pytest.fixture
async def client(settings: PortalSettings) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(transport=ASGITransport(SERVICE.create_api(settings)), base_url="http://medled") as client:
        yield client


async def test_document_page_and_schemas_are_served(client: AsyncClient) -> None:
    assert (await client.get("/asyncapi.json")).json() == asyncapi()
    served = await client.get("/schemas/medled.round.opened.v1.json")
    assert served.headers["content-type"] == "application/schema+json"
    assert served.json()["$id"] == asyncapi()["components"]["schemas"]["RoundOpened"]["x-medled-dataschema"]
    assert (await client.get("/schemas/medled.round.opened.v99.json")).status_code == 404


async def test_the_page_lets_nothing_in_but_its_own_style(client: AsyncClient) -> None:
    page = await client.get("/asyncapi")
    style = page.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert page.headers["content-security-policy"].startswith(f"default-src 'none'; style-src 'sha256-{digest}'")
    assert "style=" not in page.text
