"""Nothing that Medled does by itself, or that an operator has it do, is called foreign: no false alarms."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from deploy.embedded.tansu import TansuBroker
from shared.directory import handlers as directory
from shared.events import EnrolmentRequested, UnitState
from shared.ids import new_id
from shared.messaging import outbox
from shared.messaging.handler import Handler, Received
from shared.messaging.topic_admin import ensure_topics
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction
from tests.support.backbone import publish, requested, until
from tests.support.commands import describe_stack, medled
from tests.support.databases import Databases
from tests.support.verifying import house, line

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(150)]

UNITS = next(handler for handler in directory.handlers() if handler.name == "directory.units")


async def add_unit(pool: Pool, name: str) -> UUID:
    unit = new_id()
    async with transaction(pool) as conn:
        await conn.execute("insert into units (id, name) values ($1, $2)", unit, name)
        await outbox.add(conn, UnitState(unit_id=unit, name=name), now=datetime.now(UTC))
    return unit


async def test_dead_letters_that_are_tried_again_are_ours(
    fresh_kafka: str, database: Databases, tmp_path: Path
) -> None:
    refusing = True

    async def apply(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
        if refusing:
            raise ValueError("cannot be handled")

    async with house(database, fresh_kafka, Handler("test.fussy", (EnrolmentRequested,), apply, "every_fact")) as all_:
        await publish(all_.producer, [requested() for _ in range(3)])
        report = await all_.verify()
        assert (report.clean, line(report).dead) == (True, 3)
        refusing = False
        describe_stack(tmp_path, all_.databases, fresh_kafka)
        replayed = await medled(tmp_path, "dead-letters", "replay", "--all", "--service", "portal")
        assert replayed.exit_code == 0, replayed.output

        async def are_settled() -> bool:
            return bool(await all_.consumer.fetchval("select not exists (select from set_aside)"))

        await until(are_settled)
        report = await all_.verify()
    assert (report.clean, report.foreign, line(report).applied) == (True, 0, 3), report


async def test_what_repair_announces_is_ours(fresh_kafka: str, database: Databases, tmp_path: Path) -> None:
    """A sequence that it skipped to, and that one is gone whom enrolment never had."""
    async with house(database, fresh_kafka, UNITS) as all_:
        unit, ghost = await add_unit(all_.producer, "Care North"), new_id()
        assert (await all_.verify()).clean
        await all_.consumer.execute("update inbox_latest set sequence = 40 where subject = $1", str(unit))
        await all_.consumer.execute("update units set name = 'Thieves' where id = $1", unit)
        await all_.consumer.execute("insert into units (id, name) values ($1, 'Nobody')", ghost)
        await all_.consumer.execute("insert into inbox_latest values ($1, $2, 7)", UNITS.name, str(ghost))
        report = await all_.verify()
        assert (report.astray, report.foreign) == (2, 0)

        others = {service: await database(service) for service in ("feedback", "notifications")}
        describe_stack(tmp_path, all_.databases | others, fresh_kafka)
        for subject in (unit, ghost):
            repaired = await medled(tmp_path, "repair", "units", subject)
            assert repaired.exit_code == 0, repaired.output
        report = await all_.verify()
        assert report.clean, report
        last = await all_.producer.fetch("select last from outbox_sequences order by last")
        assert [row["last"] for row in last] == [8, 41]

        await outbox.prune(all_.producer, datetime.now(UTC))
        await add_unit(all_.producer, "Care South")
        report = await all_.verify()
    assert report.clean, "neither once the outbox has forgotten what was told before"


async def test_what_fills_an_empty_broker_again_is_ours_also_after_much_was_forgotten(
    tansu: TansuBroker, database: Databases
) -> None:
    async def keep(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
        """The inbox alone matters here."""

    handler = Handler("test.keep", (UnitState, EnrolmentRequested), keep, "every_fact")
    async with house(database, tansu.bootstrap, handler, transactions=False) as all_:
        unit, told = new_id(), requested()
        for name in ("old", "new"):
            await publish(all_.producer, [UnitState(unit_id=unit, name=name), told])
        assert (await all_.verify()).clean
        await outbox.prune(all_.producer, datetime.now(UTC))
        assert await all_.producer.fetchval("select count(*) from outbox") == 1, "the newest state of a compacted topic"
        await publish(all_.producer, [told, requested(), UnitState(unit_id=new_id(), name="another")])
        report = await all_.verify()
        assert report.clean, report
        assert sum(fact.too_old for fact in report.facts) == 3

        await asyncio.to_thread(tansu.wipe)
        await ensure_topics(tansu.bootstrap)
        report = await all_.verify()
        assert report.clean, report
        assert {fact.type: (fact.on_kafka, fact.too_old) for fact in report.facts} == {
            UnitState.type: (2, 0), EnrolmentRequested.type: (2, 0),
        }  # fmt: skip
        await outbox.prune(all_.producer, datetime.now(UTC))
        report = await all_.verify()
    assert report.clean, report
    assert sum(fact.too_old for fact in report.facts) == 2
