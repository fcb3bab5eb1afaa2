"""The public contract as an outsider meets it: a consumer that shares no code with Medled."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from deploy.embedded.process import Child, free_port
from shared.events import EnrolmentActivated, EnrolmentApproved, PersonState, PersonStatus
from shared.ids import new_id
from shared.messaging import outbox
from shared.messaging.relay import Relay
from shared.postgres.pool import Pool, create_pool
from shared.postgres.transaction import transaction
from shared.settings import Settings
from tests.support.databases import Databases
from tests.support.settings import make_settings

ROOT = Path(__file__).resolve().parents[1]


async def publish_twice(pool: Pool, relay: Relay, person: PersonState) -> list[str]:
    """An enrolment's two events and a person's data, each published and published again; returns the public types."""
    ids = {"enrolment_id": new_id(), "person_id": new_id(), "cohort_id": new_id(), "programme_id": new_id()}
    facts = [
        EnrolmentApproved(**ids, unit_id=new_id(), manager_id=None),
        EnrolmentActivated(**ids, unit_id=new_id(), manager_id=None, promoted=False),
    ]
    async with transaction(pool) as conn:
        await outbox.add(conn, *facts, person, now=datetime.now(UTC))
    async with asyncio.timeout(30):
        while relay.published < 3:
            await asyncio.sleep(0.05)
    async with transaction(pool) as conn:
        await conn.execute("update outbox set published_at = null")
    async with asyncio.timeout(30):
        while relay.published < 6:
            await asyncio.sleep(0.05)
    return [fact.type for fact in facts]


def events_in(log: Path) -> list[str]:
    """The types of the printed events; FastStream's own log lines are left out."""
    return [line.split()[0] for line in log.read_text().splitlines() if line.startswith("medled.")]


def somebody() -> PersonState:
    return PersonState(
        person_id=new_id(), login="vega@example.org", employee_id="E1", given_name="Vega", family_name="Lind",
        email="vega@example.org", title=None, unit_id=new_id(), manager_id=None, status=PersonStatus.active,
        locale="sv", time_zone="Europe/Stockholm",
    )  # fmt: skip


async def test_an_outside_consumer_sees_every_public_event_once_and_in_order(
    broker: str, database: Databases, tmp_path: Path
) -> None:
    settings = make_settings(Settings, await database("enrolment"), kafka_bootstrap=broker, kafka_transactions=False)
    pool = await create_pool(settings, name="test")
    relay = Relay(settings, service="enrolment")
    relaying = asyncio.create_task(relay.run())
    example = Child(
        name="example", command=[sys.executable, str(ROOT / "examples/consume.py"), broker], log=tmp_path / "printed"
    )
    try:
        published = await publish_twice(pool, relay, somebody())
        example.start()
        async with asyncio.timeout(30):
            while len(events_in(example.log)) < len(published):
                assert example.running, example.log.read_text()
                await asyncio.sleep(0.1)
        await asyncio.sleep(1)  # the second deliveries are printed now, if at all
    finally:
        example.kill()
        relaying.cancel()
        await asyncio.gather(relaying, return_exceptions=True)
        await pool.close()

    assert events_in(example.log) == published
    assert "Vega" not in example.log.read_text()


def test_without_a_broker_it_says_so_and_nothing_else() -> None:
    nobody = f"127.0.0.1:{free_port()}"
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/consume.py"), nobody], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert f"No Kafka answers at {nobody} (" in done.stderr  # no full stop that a copy takes along
    assert "Unclosed" not in done.stderr
    assert done.stdout == ""
