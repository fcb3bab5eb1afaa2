"""Whoever has the staff list and reads the public streams: nothing tells who stands where in the list."""

from collections.abc import AsyncIterator, Callable, Mapping
from itertools import pairwise
from statistics import correlation
from typing import Any
from uuid import UUID

import pytest

from shared.events import REGISTRY, PersonManagerChanged, PersonProvisioned
from shared.events.envelope import parse_headers
from shared.postgres.pool import Pool, create_pool
from shared.settings import Settings
from tests.enrolment.imports.conftest import Importer
from tests.support.databases import Databases
from tests.support.settings import make_settings

HEADER = "Employee ID,First Name,Last Name,Unit,Manager ID\n"
PEOPLE = 121
Fact = Mapping[str, Any]  # a public event as a reader of the stream has it
ORDERS: dict[str, Callable[[Fact], Any]] = {
    "as published": lambda fact: fact["offset"],
    "the event's id": lambda fact: fact["id"],
    "the person's id": lambda fact: fact["person"],
    "its time, sequence and id": lambda fact: (fact["time"], fact["sequence"], fact["id"]),
}


def staff_list(manager: str) -> str:
    """Everybody in the order of their names, as an HR platform exports them."""
    boss = f"{manager},Boss,{manager},Care,\n"
    return HEADER + boss + "".join(f"{n},Name{n:03},Berg,Care,{manager}\n" for n in range(1, PEOPLE))


@pytest.fixture
async def pool(database: Databases) -> AsyncIterator[Pool]:
    pool = await create_pool(make_settings(Settings, await database("enrolment")), name="test")
    yield pool
    await pool.close()


@pytest.mark.parametrize("order", list(ORDERS))
async def test_no_order_of_the_public_events_is_the_order_of_the_staff_list(pool: Pool, order: str) -> None:
    importer = Importer(pool)
    await importer(staff_list("0"))
    joined = await told(pool, PersonProvisioned.type)
    await importer(staff_list("new boss"), full=False)
    changed = await told(pool, PersonManagerChanged.type)
    people = {row["id"]: row["employee_id"] for row in await pool.fetch("select id, employee_id from people")}
    for facts in (joined, changed):
        places = [
            int(people[fact["person"]])
            for fact in sorted(facts, key=ORDERS[order])
            if people[fact["person"]] in map(str, range(1, PEOPLE))
        ]
        assert len(places) == PEOPLE - 1
        # By chance about one of 120 stands right behind its predecessor: twelve do less than once in a hundred million
        # times. And by chance the correlation is within 0.09 of none two times in three: 0.55 is six times that.
        assert sum(after - before == 1 for before, after in pairwise(places)) < 12
        assert abs(correlation(range(PEOPLE - 1), places)) < 0.55


async def test_a_persons_id_holds_no_time(pool: Pool) -> None:
    await Importer(pool)(staff_list("0"))
    assert {row["id"].version for row in await pool.fetch("select id from people")} == {4}


async def told(pool: Pool, type_: str) -> list[Fact]:
    """The public events of a type in the order in which the relay publishes them."""
    rows = await pool.fetch("select seq, headers, payload from outbox where type = $1 order by seq", type_)
    facts: list[Fact] = []
    for row in rows:
        lines = (line.split(": ", 1) for line in row["headers"].splitlines())
        envelope = parse_headers([(name, value.encode()) for name, value in lines])
        data = REGISTRY[type_].decode(row["payload"])
        facts.append(
            {
                "offset": row["seq"], "id": envelope.id, "time": envelope.time, "sequence": envelope.sequence,
                "person": UUID(str(data.person_id)),  # type: ignore[attr-defined] # a fact about a person
            }
        )  # fmt: skip
    return facts
