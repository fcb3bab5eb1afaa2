"""The portal as its readers find it: on a port, with somebody who is signed in."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from services.portal.service import SERVICE
from services.portal.settings import PortalSettings
from shared.postgres.pool import Pool
from shared.security.session import COOKIE
from tests.support.directory import add_person
from tests.support.serving import on_a_port
from tests.support.signing_in import session_of


@dataclass(frozen=True)
class Portal:
    origin: str
    settings: PortalSettings
    pool: Pool
    app: FastAPI

    def stop_streams(self) -> None:
        """What the signal to stop does before the server waits for open responses."""
        self.app.state.live.broadcaster.close()

    @asynccontextmanager
    async def browser(self, login: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
        """A browser, signed in as a person of the register when `login` is given."""
        async with httpx.AsyncClient(base_url=self.origin, trust_env=False) as client:
            if login is not None:
                await add_person(self.pool, login, locale="sv")
                client.cookies.set(COOKIE, session_of(self.settings, login), domain="127.0.0.1")
            yield client


@asynccontextmanager
async def portal_on_a_port(settings: PortalSettings, pool: Pool, port: int = 0) -> AsyncIterator[Portal]:
    app = SERVICE.create_api(settings)
    async with on_a_port(app, port) as origin:
        yield Portal(origin, settings, pool, app)


async def server_sent(response: httpx.Response, count: int) -> list[dict[str, Any]]:
    """The first `count` events that carry data: their fields, `data` decoded."""
    events: list[dict[str, Any]] = []
    fields: dict[str, Any] = {}
    async with asyncio.timeout(10):
        async for line in response.aiter_lines():
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            elif not line:
                if "data" in fields:
                    events.append(fields | {"data": json.loads(fields["data"])})
                fields = {}
                if len(events) == count:
                    break
    return events
