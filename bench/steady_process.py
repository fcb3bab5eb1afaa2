"""`python -m bench.steady_process relay|relay-0.1|reader ...`: the parts of `relay_steady` that are processes.

A relay as a worker has it, from DATABASE to BOOTSTRAP; or one that reads TOPIC at BOOTSTRAP as committed records come,
keeps in FILE how many have come, and at SIGTERM writes into it when each came.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.producer import sender
from pydantic import SecretStr

from shared.messaging import relay
from shared.messaging.record_batches import Burst, transmit
from shared.runtime.memory import tune_garbage_collector
from shared.settings import Settings

SILENCE_SECONDS = 2.0


class TransactionPerBurst(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka declares no types
    """How 0.1.1 published, the library's wait between two transactions shortened from 20 ms to 2 as it did."""

    def __init__(self, settings: Settings, *, service: str, **confirm: Callable[[], Awaitable[None]]) -> None:
        del confirm
        sender.BACKOFF_OVERRIDE = 0.002
        super().__init__(**settings.kafka_client(), transactional_id=f"medled-{service}-relay", max_batch_size=950_000)

    def create_batch(self, *, transactional: bool) -> Any:
        """An empty batch, always for a transaction."""
        del transactional
        return super().create_batch()

    async def publish(self, burst: Burst) -> None:
        """One burst, one transaction."""
        async with self.transaction():
            await transmit(self, burst)

    async def renew(self) -> None:
        """Nothing that is forgotten: each transaction is a fence."""


async def publish(database: str, bootstrap: str) -> None:
    """Relay until killed."""
    settings = Settings(
        environment="development", database_url=database, kafka_bootstrap=bootstrap,
        public_url="http://127.0.0.1:8080", oidc_issuer="http://127.0.0.1:8081",
        session_secret=SecretStr("measured-measured-measured-measured"),
    )  # fmt: skip
    await relay.Relay(settings, service="enrolment").run()


async def read(topic: str, bootstrap: str, file: Path) -> None:
    """Note when each record came, in seconds, by its subject and type; until nothing comes after SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    came: dict[str, float] = {}
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="latest"
    ) as consumer:
        await consumer.seek_to_end()
        for place in consumer.assignment():
            await consumer.position(place)
        file.write_text("0")
        last = 0.0
        while not ended.is_set() or time.time() - last < SILENCE_SECONDS:
            batches = await consumer.getmany(timeout_ms=200)
            now = time.time()
            last = now if batches else last
            for records in batches.values():
                for record in records:
                    headers = dict(record.headers)
                    came.setdefault(f"{headers['ce_subject'].decode()} {headers['ce_type'].decode()}", now)
            if batches and not ended.is_set():
                file.write_text(str(len(came)))
    file.write_text(json.dumps(came))


def main() -> None:
    """Be what is asked for."""
    what, first, bootstrap, *more = sys.argv[1:]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
    tune_garbage_collector()
    if what == "reader":
        uvloop.run(read(first, bootstrap, Path(more[0])))
        return
    if what == "relay-0.1":
        setattr(relay, "RelayProducer", TransactionPerBurst)  # noqa: B010 - mypy takes no class for a variable
    uvloop.run(publish(first, bootstrap))


if __name__ == "__main__":
    main()
