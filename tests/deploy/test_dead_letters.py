"""`medled dead-letters` over a real worker: what fails is listed, shown, tried again, given up; all on record."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import Result

from deploy.embedded.process import free_port
from shared.events import EnrolmentRequested
from shared.ids import new_id
from shared.messaging.handler import Handler, Received
from shared.postgres.pool import Connection, Pool
from shared.settings import Settings
from tests.support.backbone import publish, requested, running, until
from tests.support.commands import describe_stack, medled
from tests.support.databases import Databases
from tests.support.settings import make_settings


@dataclass
class House:
    """A portal whose handler refuses some enrolments until it is repaired."""

    data: Path
    producer: Pool
    consumer: Pool
    refused: set[UUID] = field(default_factory=set)
    applied: list[UUID] = field(default_factory=list)

    def apply(self, events: Sequence[Received[Any]]) -> None:
        for event in events:
            if event.data.enrolment_id in self.refused:
                raise ValueError("cannot be handled")
        self.applied += [event.data.enrolment_id for event in events]

    async def fail(self, count: int) -> list[str]:
        """Publish events that fail, and give their dead letters' ids."""
        events = [requested() for _ in range(count)]
        self.refused |= {event.enrolment_id for event in events}
        await publish(self.producer, events)
        await until(lambda: self.holds("dead", count))
        return [
            str(row["id"]) for row in await self.consumer.fetch("select id from set_aside order by set_aside_at, id")
        ]

    async def holds(self, state: str, count: int) -> bool:
        return bool(await self.consumer.fetchval("select count(*) from set_aside where state = $1", state) == count)

    async def audited(self) -> list[str]:
        rows = await self.consumer.fetch("select action, principal from audit_log order by at, id")
        assert {row["principal"] for row in rows} <= {"machine:console"}
        return [row["action"] for row in rows]

    async def letters(self, *words: object) -> Result:
        return await medled(self.data, "dead-letters", *words, "--service", "portal")


@pytest.fixture
async def house(broker: str, database: Databases, tmp_path: Path) -> AsyncIterator[House]:
    databases = {service: await database(service) for service in ("enrolment", "portal")}
    describe_stack(tmp_path, databases, broker)
    producing, consuming = (
        make_settings(Settings, dsn, port=free_port(), kafka_bootstrap=broker) for dsn in databases.values()
    )
    built: House | None = None

    async def apply(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
        assert built is not None
        built.apply(events)

    handler = Handler("test.fussy", (EnrolmentRequested,), apply, "every_fact")
    async with running(producing, "enrolment") as producer, running(consuming, "portal", [handler]) as consumer:
        built = House(tmp_path, producer, consumer)
        yield built


async def test_a_dead_letter_is_listed_shown_and_applied_when_it_is_tried_again(house: House) -> None:
    assert (await house.letters("list")).stdout.strip() == "There are no dead letters."
    [letter] = await house.fail(1)

    listed = await house.letters("list")
    assert listed.exit_code == 0
    assert letter in listed.stdout
    assert EnrolmentRequested.type in listed.stdout
    assert json.loads((await house.letters("list", "--json")).stdout)[0]["reason"] == "handler_failed"
    assert "no dead letters" in (await house.letters("list", "--reason", "foreign")).stdout

    shown = await house.letters("show", letter)
    assert "personal data" in shown.stderr
    assert '"enrolment_id"' in shown.stdout
    assert "ce_type" in shown.stdout
    content = json.loads((await house.letters("show", letter, "--json")).stdout)
    assert UUID(json.loads(content["value"])["enrolment_id"]) in house.refused

    house.refused.clear()
    replayed = await house.letters("replay", letter)
    assert (replayed.exit_code, replayed.stdout.strip()) == (0, "1 being tried again.")
    await until(lambda: house.holds("parked", 0))
    assert len(house.applied) == 1

    again = await house.letters("replay", letter)
    assert again.exit_code == 0
    assert "was replayed before" in again.stdout
    assert len(house.applied) == 1
    assert await house.audited() == ["dead_letter.read", "dead_letter.read", "dead_letter.replayed"]


async def test_what_still_fails_is_a_dead_letter_again(house: House) -> None:
    [letter] = await house.fail(1)
    assert (await house.letters("replay", letter)).exit_code == 0
    await until(lambda: house.holds("dead", 1))
    assert house.applied == []


async def test_discarding_drops_what_a_letter_holds_and_is_final(house: House) -> None:
    letters = await house.fail(3)
    discarded = await house.letters("discard", "--all", "--reason", "handler_failed", "--json")
    assert (discarded.exit_code, json.loads(discarded.stdout)) == (0, dict.fromkeys(letters, "done"))
    rows = await house.consumer.fetch("select key, headers, value, state from set_aside")
    assert {(row["key"], str(row["headers"]), row["value"], row["state"]) for row in rows} == {
        (None, "[]", None, "discarded")
    }
    again = await house.letters("discard", letters[0])
    assert (again.exit_code, again.stdout.count("was discarded before")) == (0, 1)
    refused = await house.letters("replay", letters[0])
    assert refused.exit_code == 1
    assert "is discarded, left alone" in refused.stdout
    assert await house.audited() == ["dead_letter.discarded"] * 3


async def test_what_is_not_there_and_what_is_not_said_are_refused(database: Databases, tmp_path: Path) -> None:
    describe_stack(tmp_path, {"portal": await database("portal")})
    unknown = await medled(tmp_path, "dead-letters", "replay", new_id(), "--service", "portal")
    assert unknown.exit_code == 1
    assert "there is no such dead letter" in unknown.stdout
    assert (await medled(tmp_path, "dead-letters", "show", new_id(), "--service", "portal")).exit_code == 1
    for words in (["replay"], ["discard", new_id(), "--all"], ["list", "--service", "payroll"], ["show", "letter"]):
        assert (await medled(tmp_path, "dead-letters", *words)).exit_code == 2, words
