"""The real servers that are measured against: Postgres with fsync on, and Apache Kafka."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from deploy.embedded.kafka import AS_IN_PRODUCTION, KafkaBroker
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.services import find_service
from shared.messaging.topic_admin import ensure_topics
from shared.postgres.migrate import migrate
from shared.settings import Settings

S = TypeVar("S", bound=Settings)
_POSTGRES = {"shared_buffers": "512MB", "track_commit_timestamp": "on"}  # the latter says when an effect was there


@dataclass
class Servers:
    """One Postgres and one Kafka, alone on this machine for as long as the benchmarks run."""

    postgres: EmbeddedPostgres
    kafka: KafkaBroker
    directory: Path
    _numbers: Iterator[int] = field(default_factory=count)

    async def template(self, service: str) -> str:
        """A new database with that service's migrations, to be filled and then cloned for each round; its name."""
        name = f"bench_{service}_{next(self._numbers)}"
        await self.execute(f"create database {name}")
        await asyncio.to_thread(migrate, self.dsn(name), find_service(service))
        return name

    async def clone(self, template: str) -> str:
        """A copy of a database nobody is connected to: every round starts from the same files. Its name."""
        name = f"{template}_{next(self._numbers)}"
        await self.execute(f"create database {name} template {template} strategy file_copy")
        return name

    async def drop(self, name: str) -> None:
        """Remove a database, whoever is still connected."""
        await self.execute(f"drop database {name} with (force)")

    async def execute(self, statement: str) -> None:
        """Run one statement as the superuser, outside any transaction."""
        conn = await asyncpg.connect(self.postgres.dsn())
        try:
            await conn.execute(statement)
        finally:
            await conn.close()

    def dsn(self, name: str) -> str:
        """The address of a database."""
        return self.postgres.dsn(name)

    def settings(self, kind: type[S], database: str, **more: Any) -> S:
        """Settings as in production, for these servers."""
        return kind(
            **{
                "environment": "development", "database_url": self.dsn(database),
                "kafka_bootstrap": self.kafka.bootstrap, "public_url": "http://127.0.0.1:8080",
                "oidc_issuer": "http://127.0.0.1:8081", "session_secret": "measured-measured-measured-measured", **more,
            }
        )  # fmt: skip


@contextmanager
def running() -> Iterator[Servers]:
    """Both servers in a temporary directory, ended with the block.

    Raises KafkaUnavailableError where Java is missing.
    """
    with tempfile.TemporaryDirectory(prefix="medled-bench-", ignore_cleanup_errors=True) as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)  # as root, Postgres runs as nobody and has to reach its data
        postgres = EmbeddedPostgres(directory / "postgres", settings=_POSTGRES)
        kafka = KafkaBroker(directory / "kafka", java=AS_IN_PRODUCTION)
        try:
            kafka.start()
            postgres.start()
            asyncio.run(ensure_topics(kafka.bootstrap))
            yield Servers(postgres, kafka, directory)
        finally:
            kafka.kill()
            postgres.child.kill()
