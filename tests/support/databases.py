"""Databases for tests: migrated once per service and run, then cloned for each test."""

import asyncio
from itertools import count

import asyncpg

from deploy.embedded.postgres import EmbeddedPostgres
from deploy.services import find_service
from shared.postgres.migrate import migrate
from tests.support.released import load


class Databases:
    """Clones of each service's migrated template. Call it with a service's name to get a DSN."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self._templates: set[str] = set()
        self._numbers = count(1)
        self._made: list[str] = []

    async def __call__(self, service: str) -> str:
        template = f"template_{service}"
        if service not in self._templates:
            await self._execute(f"create database {template}")
            await asyncio.to_thread(migrate, self.server.dsn(template), find_service(service))
            self._templates.add(service)
        name = f"{service}_{next(self._numbers)}"
        await self._execute(f"create database {name} template {template}")
        self._made.append(name)
        return self.server.dsn(name)

    async def released(self, version: str, service: str) -> str:
        """What that version's service had stored, not yet migrated."""
        name = f"{service}_{next(self._numbers)}"
        await self._execute(f"create database {name}")
        self._made.append(name)
        await asyncio.to_thread(load, version, service, self.server.dsn(name))
        return self.server.dsn(name)

    async def drop_all(self) -> None:
        """Drop every clone made so far."""
        while self._made:
            await self._execute(f"drop database {self._made.pop()} with (force)")

    async def _execute(self, statement: str) -> None:
        conn = await asyncpg.connect(self.server.dsn())
        try:
            await conn.execute(statement)
        finally:
            await conn.close()
