"""The peer of `journey` as a side of it: three processes, see `journey_peer`."""

import asyncio
import sys
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import asyncpg
import httpx

from bench import journey_peer
from bench.journey_sides import ROWS, Moments, Side
from bench.servers import Servers
from deploy.embedded.process import Child, free_port, wait_until_listening
from shared.ids import new_id


class Peer(Side):
    """FastAPI with faststream-outbox, and two FastStream subscribers."""

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers)
        self._children: list[Child] = []
        self._effects: list[asyncpg.Connection[asyncpg.Record]] = []

    @property
    def processes(self) -> Mapping[str, int]:
        return {child.name: child.pid for child in self._children}

    async def start(self) -> None:
        port = free_port()
        await self.servers.execute("create database peer_api")
        api = self._child("api", "peer_api", str(port))
        for name in ("peer_one", "peer_other"):
            await self.servers.execute(f"create database {name}")
            conn = await asyncpg.connect(self.servers.dsn(name))
            self.cleanup.push_async_callback(conn.close)
            await conn.execute(journey_peer.EFFECTS)
            self._effects.append(conn)
            self._child("effects", name, name)
        await asyncio.to_thread(wait_until_listening, api, port, 30)
        self._client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
        self.cleanup.push_async_callback(self._client.aclose)

    def _child(self, what: str, database: str, last: str) -> Child:
        command = [sys.executable, "-m", "bench.journey_peer", what]
        child = Child(
            name=database, command=[*command, self.servers.dsn(database), self.servers.kafka.bootstrap, last],
            log=self.servers.directory / f"{database}.log",
        )  # fmt: skip
        child.start()
        self.cleanup.callback(child.stop)
        self._children.append(child)
        return child

    async def begin(self) -> UUID:
        answer = await self._client.post("/enrolments", json={"cohort_id": str(new_id())})
        answer.raise_for_status()
        return UUID(answer.json()["id"])

    async def moments(self, since: datetime) -> list[Moments]:
        return [{row["id"]: row["at"] for row in await conn.fetch(ROWS, since)} for conn in self._effects]
