"""`medled handlers` over the services' databases: what each handler lacks, and a replay that is begun or refused."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from deploy.services import SERVICES, find_service
from shared.messaging import history
from shared.messaging.dispatch import Handlers
from tests.support.commands import describe_stack, medled
from tests.support.databases import Databases

LIFE = UUID(int=1)
REPLAYED = "portal.dashboard.enrolments"


@pytest.fixture
async def databases(database: Databases, tmp_path: Path) -> dict[str, str]:
    """Services whose workers have read ten records of a topic, all handlers being there."""
    dsns = {service: await database(service) for service in SERVICES}
    for service, dsn in dsns.items():
        it = Handlers(service, find_service(service).handlers)
        conn = await asyncpg.connect(dsn)
        await history.register_handlers(conn, service, it.generation, it.all)
        await conn.execute("insert into broker_epoch values ('consumer', $1)", LIFE)
        await conn.execute("insert into inbox_offsets values ($1, $2, 'medled.enrolment.v1', 0, 10)", service, LIFE)
        await history.take_over_partitions(conn, service, it.generation, LIFE, it.pairs, [("medled.enrolment.v1", 0)])
        await conn.execute("update handler_catch_up set next_offset = until_offset")
        await conn.close()
    describe_stack(tmp_path, dsns)
    return dsns


async def rows(data: Path, service: str = "portal") -> dict[str, dict[str, Any]]:
    result = await medled(data, "handlers", "list", "--json", "--service", service)
    assert result.exit_code == 0, result.output
    return {row["handler"]: row for row in json.loads(result.stdout)}


async def test_a_handler_is_live_until_it_lacks_something_and_a_replay_lacks_everything(
    databases: dict[str, str], tmp_path: Path
) -> None:
    assert {row["state"] for row in (await rows(tmp_path)).values()} == {"live"}
    result = await medled(tmp_path, "handlers", "replay", REPLAYED)
    assert result.exit_code == 0, result.output
    row = (await rows(tmp_path))[REPLAYED]
    types = len(next(each for each in find_service("portal").handlers if each.name == REPLAYED).events)
    assert (row["state"], row["progress"], row["lag"], row["began"]) == ("replaying", 0, 10 * types, None)
    shown = (await medled(tmp_path, "handlers", "list")).stdout
    [line] = [line.split() for line in shown.splitlines() if REPLAYED in line]
    assert line == ["portal", REPLAYED, "replaying", "the", "beginning", "0", "%", str(10 * types)]


async def test_a_replay_of_what_must_not_happen_again_is_refused_with_the_reason_and_changes_nothing(
    databases: dict[str, str], tmp_path: Path
) -> None:
    for name, reason in (
        ("notifications.routing.queue_mail", "mail that was sent would be sent again"),
        ("feedback.rounds.follow_enrolments", "an effect of its own (rounds.caused_by), which would be doubled"),
        ("no.such.handler", "There is no handler no.such.handler"),
    ):
        result = await medled(tmp_path, "handlers", "replay", name)
        assert result.exit_code == 1
        assert reason in " ".join(result.output.split())
    for dsn in databases.values():
        conn = await asyncpg.connect(dsn)
        assert await conn.fetchval("select count(*) from handler_catch_up where next_offset < until_offset") == 0
        await conn.close()


async def test_handlers_that_no_worker_has_met_and_that_the_code_no_longer_has_are_told(
    databases: dict[str, str], tmp_path: Path
) -> None:
    conn = await asyncpg.connect(databases["portal"])
    await conn.execute("update handler_pairs set handler = 'portal.dashboard.elder' where handler = $1", REPLAYED)
    await conn.close()
    told = await rows(tmp_path)
    assert (told[REPLAYED]["state"], told["portal.dashboard.elder"]["state"]) == ("not_met", "gone")
    doctor = await medled(tmp_path, "doctor", "--json")
    found = [each["detail"] for each in json.loads(doctor.stdout) if each["what"] == "portal handlers"]
    assert found == []
    await medled(tmp_path, "handlers", "replay", "portal.dashboard.catalogue")
    doctor = await medled(tmp_path, "doctor", "--json")
    [detail] = [each["detail"] for each in json.loads(doctor.stdout) if each["what"] == "portal handlers"]
    assert detail.startswith("portal.dashboard.catalogue is being replayed, up to ")
