"""Ids of what concerns others: trying them tells nobody whether there is anything behind them."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from shared.ids import new_id, random_id
from tests.enrolment.world import World, ok, opened
from tests.support.databases import Databases

ENROLMENTS = "/enrolment/v1/enrolments"
PAGES = {"accept": "text/html", "origin": "http://127.0.0.1:8080"}
STEPS = ("reach", "attest", "waive", "undo")
TRIED = [
    ("GET", f"{ENROLMENTS}/{{id}}"),
    ("GET", f"{ENROLMENTS}/{{id}}/milestones"),
    *(("POST", f"{ENROLMENTS}/{{id}}/{change}") for change in ("approve", "decline", "withdraw")),
    *(
        ("POST", f"{ENROLMENTS}/{{id}}/milestones/first_meeting/{step}")
        for step in ("reach", "attest", "waive", "undo")
    ),
    ("GET", "/enrolment/me/{id}/withdraw"),
    ("GET", "/enrolment/me/{id}/milestones/first_meeting/reach"),
    ("POST", "/enrolment/me/{id}/withdraw"),
    ("POST", "/enrolment/me/{id}/milestones/first_meeting/reach"),
    ("POST", "/enrolment/me/{id}/milestones/first_meeting/undo"),
    ("GET", "/enrolment/approvals/{id}/decline"),
    ("GET", "/enrolment/approvals/{id}/answered"),
    ("POST", "/enrolment/approvals/{id}/approve"),
    ("POST", "/enrolment/approvals/{id}/milestones/first_meeting/attest"),
]


@pytest.fixture
async def world(database: Databases, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(await database("enrolment"), tmp_path) as world:
        yield world


async def test_an_enrolment_that_concerns_others_answers_as_one_that_nobody_ever_had(world: World) -> None:
    cohort = await world.cohort(await world.office())
    boss = await world.person("boss", unit=world.north)
    await world.person("anna", unit=world.north, manager=boss)
    theirs = (await ok(world.client("anna").post(ENROLMENTS, json={"cohort_id": cohort}), 201))["id"]
    await world.person("colleague", unit=world.north, manager=boss)
    for stranger in (world.client("colleague"), await world.office("south-office", world.south)):
        for method, path in TRIED:
            real, invented = [await tried(stranger, method, path, id_) for id_ in (theirs, str(new_id()))]
            assert real == invented, (method, path)
            assert real[0] in (303, 404)
    assert (await ok(world.client("anna").get(f"{ENROLMENTS}/{theirs}")))["status"] == "requested"


async def test_a_person_whom_one_may_not_see_answers_as_one_who_was_never_there(world: World) -> None:
    anna = await world.person("anna", unit=world.north)
    await world.person("colleague", unit=world.north)
    for stranger in (world.client("colleague"), await world.office("south-office", world.south)):
        real, invented = [
            await tried(stranger, "GET", "/enrolment/v1/people/{id}", str(id_)) for id_ in (anna, random_id())
        ]
        assert real == invented
        assert real[0] == 403


async def tried(client: httpx.AsyncClient, method: str, path: str, id_: str) -> tuple[int, str, str]:
    headers = {} if "/v1/" in path else PAGES
    answer = await client.request(method, path.format(id=id_), headers=headers)
    return answer.status_code, answer.headers.get("location", ""), answer.text.replace(id_, "ID")
