"""`python -m bench.catch_up_process DATABASE PORT BOOTSTRAP`: a worker of `catch_up`, with its two handlers."""

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
import uvloop
from pydantic import SecretStr

from deploy.services import find_service
from shared.events import EnrolmentActivated, EnrolmentApproved, EnrolmentRequested, Event, MilestoneReached
from shared.messaging.handler import Handler, Received
from shared.postgres.pool import Connection, create_pool
from shared.runtime.memory import tune_garbage_collector
from shared.runtime.worker import Worker
from shared.settings import Settings

LIVE, LATER = "bench.live", "bench.later"
TYPES: tuple[type[Event], ...] = (EnrolmentRequested, EnrolmentApproved, EnrolmentActivated, MilestoneReached)


def handlers() -> list[Handler]:
    """Each leaves a row for each event."""
    return [_keeping(LIVE, "live"), _keeping(LATER, "later")]


def _keeping(name: str, table: str) -> Handler:
    insert = f"insert into {table} select * from unnest($1::uuid[], $2::text[])"  # noqa: S608 - ours

    async def apply(conn: Connection, events: Sequence[Received[Any]], _: datetime) -> None:
        await conn.execute(insert, [each.id for each in events], [f"{each.subject} {each.type}" for each in events])

    return Handler(name, TYPES, apply, "every_fact", effect=f"{table}.caused_by")


async def _work(database: str, port: int, bootstrap: str) -> None:
    settings = Settings(
        environment="development", database_url=database, kafka_bootstrap=bootstrap, port=port,
        public_url="http://127.0.0.1:8080", oidc_issuer="http://127.0.0.1:8081",
        session_secret=SecretStr("measured-measured-measured-measured"),
    )  # fmt: skip
    pool = await create_pool(settings, name="bench")
    await Worker(settings, pool, service=find_service("portal"), handlers=handlers(), timers={}).run()


def main() -> None:
    """Work until killed."""
    database, port, bootstrap = sys.argv[1:]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
    tune_garbage_collector()
    uvloop.run(_work(database, int(port), bootstrap))


if __name__ == "__main__":
    main()
