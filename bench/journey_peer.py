"""`python -m bench.journey_peer api|effects DSN BOOTSTRAP PORT|GROUP`: the peer of `journey`, as people write it.

FastAPI, SQLAlchemy and faststream-outbox, whose subscriber relays in the same process, in the way of its README; and
plain FastStream subscribers, one message at a time, which acknowledge what they have written. Settings are the
libraries' own, but that nothing that fails is acknowledged. It has no telemetry, no sign-in, no inbox and no order.
"""

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import uvicorn
import uvloop
from fastapi import FastAPI
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from faststream_outbox import OutboxBroker, make_outbox_table
from pydantic import BaseModel
from sqlalchemy import Column, MetaData, Table, Uuid, insert
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from shared.events import EnrolmentRequested

TOPIC = EnrolmentRequested.topic
QUEUE = "enrolments"
EFFECTS = "create table effects (id uuid primary key, cohort_id uuid not null)"


class Wanted(BaseModel):
    """What a person asks for."""

    cohort_id: UUID


class Requested(BaseModel):
    """What has become of it: the answer and the event."""

    id: UUID
    cohort_id: UUID


def api(dsn: str, bootstrap: str) -> FastAPI:
    """One process: takes requests, and relays what they left in the outbox."""
    metadata = MetaData()
    outbox = make_outbox_table(metadata, table_name="outbox")
    enrolments = Table("enrolments", metadata, Column("id", Uuid, primary_key=True), Column("cohort_id", Uuid))
    engine = create_async_engine(_for_sqlalchemy(dsn))
    session_of = async_sessionmaker(engine, expire_on_commit=False)
    kafka = KafkaBroker(bootstrap, logger=None)
    broker = OutboxBroker(engine, outbox_table=outbox, logger=None)

    @kafka.publisher(TOPIC)
    @broker.subscriber(QUEUE)
    async def relay(body: Requested) -> Requested:
        return body

    @asynccontextmanager
    async def alive(_: FastAPI) -> AsyncIterator[None]:
        async with engine.begin() as conn:
            await conn.run_sync(metadata.create_all)
        await kafka.start()
        await broker.start()
        yield
        await broker.stop()
        await kafka.stop()

    app = FastAPI(lifespan=alive)

    @app.post("/enrolments", status_code=201)
    async def request(wanted: Wanted) -> Requested:
        made = Requested(id=uuid4(), cohort_id=wanted.cohort_id)
        async with session_of() as session, session.begin():
            await session.execute(insert(enrolments).values(id=made.id, cohort_id=made.cohort_id))
            await broker.publish(made, queue=QUEUE, session=session)
        return made

    return app


async def effects(dsn: str, bootstrap: str, group: str) -> None:
    """The other processes: a row for each message, then its acknowledgement; until SIGTERM."""
    broker = KafkaBroker(bootstrap, logger=None)
    async with asyncpg.create_pool(dsn) as pool:

        @broker.subscriber(TOPIC, group_id=group, auto_offset_reset="earliest", ack_policy=AckPolicy.NACK_ON_ERROR)
        async def apply(body: Requested) -> None:
            await pool.execute("insert into effects values ($1, $2)", body.id, body.cohort_id)

        await FastStream(broker, logger=None).run()


def _for_sqlalchemy(dsn: str) -> str:
    return dsn.replace("postgresql://", "postgresql+asyncpg://").removesuffix("?sslmode=disable")


def main() -> None:
    """Be what is asked for."""
    what, dsn, bootstrap, last = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING)
    if what == "api":
        uvicorn.run(api(dsn, bootstrap), port=int(last), loop="uvloop", log_level="warning", access_log=False)
    else:
        uvloop.run(effects(dsn, bootstrap, last))


if __name__ == "__main__":
    main()
