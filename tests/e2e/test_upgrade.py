"""What 0.1.0 left behind goes on with this version: people, results, links in old mail, ballots sealed before."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import psutil
import pytest

from deploy.demo.answering import Deed, respond
from deploy.demo.house import House, entered, until
from deploy.demo.record import Record
from deploy.demo.sample import CO_LEADER, Organisation, load_organisation
from deploy.demo.signing_in import write_people
from deploy.embedded.process import free_port
from deploy.local import Options, running
from deploy.services import find_service
from deploy.stack import Stack
from deploy.verify import verify
from services.portal.stream.domain import PUBLIC
from shared.clock import Clock
from shared.messaging.handler import Handler, Received
from shared.postgres.pool import Connection
from shared.security.invitation_tokens import link, token_for
from shared.settings import Settings
from tests.support.backbone import running as worker
from tests.support.released import restore, secret_of

pytestmark = pytest.mark.timeout(240)

VERSION = "0.1.0"
FORTNIGHT = 15 * 86400.0
FROM_THIS_ORIGIN = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """This version, started on the data directory that the other one left."""
    data = tmp_path / "data"
    restore(VERSION, data)
    write_people(data, load_organisation())
    with running(Options(data, port=free_port()), lambda _: None) as (started, _):
        yield started


async def test_what_was_begun_with_0_1_0_goes_on(stack: Stack) -> None:
    organisation, record = load_organisation(), Record.load(stack.data)
    assert await _is_clean(stack)
    async with entered(stack.public_url) as house:
        await _is_signed_in_as_before(stack)
        await _results_are_the_same(house, stack, record)
        asked = await _whoever_was_asked_can_still_answer(house, stack, organisation)
        await _requests_can_still_be_answered(house, organisation)
        _time_passes(stack, FORTNIGHT)
        for login, groups in asked.items():
            await until("the round that 0.1.0 opened is released", partial(_newest, house, login, groups))
    assert await _is_clean(stack)
    await _what_a_later_version_adds_is_given_all_of_it(stack)


async def _what_a_later_version_adds_is_given_all_of_it(stack: Stack) -> None:
    """A worker that has one handler more takes over from the one at work, over databases and log as they are."""

    async def note(conn: Connection, events: Sequence[Received[Any]], _: datetime) -> None:
        await conn.executemany("insert into added values ($1)", [(event.id,) for event in events])

    added = Handler("portal.later.note", PUBLIC, note, "every_fact", effect="added.caused_by")
    async with _database(stack, "portal") as conn:
        await conn.execute("create table added (caused_by uuid)")
    environment = stack.environment_for("portal") | {"MEDLED_PORT": str(free_port())}
    settings = Settings(**{name.removeprefix("MEDLED_").lower(): text for name, text in environment.items()})  # type: ignore[arg-type]
    before = psutil.Process(stack.pids["portal-worker"])
    before.suspend()  # ended, it would be started again
    try:
        async with worker(settings, "portal", [*find_service("portal").handlers, added]):
            assert await _is_clean(stack, added)
    finally:
        before.resume()
    async with _database(stack, "portal") as conn:
        told = "select count(*) from inbox where handler = 'portal.stream.entries'"
        assert await conn.fetchval("select count(*) from added") >= await conn.fetchval(told) > 400


async def _is_clean(stack: Stack, *more: Handler) -> bool:
    handlers = {service: find_service(service).handlers for service in stack.databases}
    handlers["portal"] = [*handlers["portal"], *more]
    report = await verify(stack.databases, stack.kafka_bootstrap, handlers, clock=Clock(stack.clock_file), wait=60)
    assert report.published > 600
    return report.clean


async def _is_signed_in_as_before(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.public_url, follow_redirects=True, trust_env=False) as browser:
        chosen = await browser.get("/login")
        form = dict(chosen.url.params) | {"sub": CO_LEADER}
        await browser.post("/issuer/authorize", data=form, headers=FROM_THIS_ORIGIN)
        assert "Amina" in (await browser.get("/feedback/", headers={"accept": "text/html"})).text


async def _results_are_the_same(house: House, stack: Stack, record: Record) -> None:
    async with _database(stack, "feedback") as conn:
        kept = {
            row["round_id"]: row["cells"]
            for row in await conn.fetch(
                """
                select round_id, count(*) filter (where c.state = 'released') as cells
                from cells c join rounds r on r.id = round_id where r.state = 'released' group by round_id
                """
            )
        }
    assert len(kept) == record.tally["released"]
    read = Counter[UUID]()
    for login in record.leading:
        for round_ in await house.all_of(login, "/feedback/v1/rounds"):
            figures = (await house.get(login, f"/feedback/v1/rounds/{round_['id']}/results"))["figures"]
            if round_["state"] == "released":
                read[UUID(round_["id"])] = sum(figure["mean"] is not None for figure in figures)
    assert read == kept


async def _whoever_was_asked_can_still_answer(
    house: House, stack: Stack, organisation: Organisation
) -> dict[str, Counter[str]]:
    """Answer every link that 0.1.0 mailed and nobody used; whom the open rounds asked, by subject's login and group."""
    asked: dict[str, Counter[str]] = {}
    answered = 0
    for invitation in await _invitations_of_open_rounds(stack):
        token = token_for(secret_of(VERSION, "link").encode(), UUID(invitation["invitation_id"]))
        login = await _login_of(stack, invitation["subject_person_id"])
        asked.setdefault(login, Counter())[invitation["group"]] += 1
        page = await house.http.get(f"/feedback/r/{token}")
        if page.status_code == httpx.codes.OK:
            answered += 1
            address = link(stack.public_url, token)
            await respond(house.http, address, Deed.answer, seed=invitation["invitation_id"], level=4)
        else:
            assert page.status_code == httpx.codes.GONE  # answered before, with 0.1.0
    assert 0 < answered < sum(groups.total() for groups in asked.values())
    return asked


async def _requests_can_still_be_answered(house: House, organisation: Organisation) -> None:
    waiting = 0
    for manager in {organisation.manager_of(person).login for person in organisation.people if person.manager_id}:
        for request in await house.all_of(manager, "/enrolment/v1/enrolments", to_approve="true"):
            decided = await house.post(manager, f"/enrolment/v1/enrolments/{request['id']}/approve")
            assert decided["status"] in ("active", "waitlisted")
            waiting += 1
    assert waiting == 3


async def _newest(house: House, login: str, groups: Mapping[str, int]) -> bool:
    """Whether this person's newest round was released, resting on the answers of old and new alike."""
    newest = (await house.all_of(login, "/feedback/v1/rounds"))[0]
    if newest["state"] == "open":
        return False
    results = await house.get(login, f"/feedback/v1/rounds/{newest['id']}/results")
    shown = {figure["group"]: figure["n"] for figure in results["figures"] if figure["state"] == "released"}
    assert shown == {group: n for group, n in groups.items() if n >= results["k"] or group in ("self", "manager")}
    return True


async def _invitations_of_open_rounds(stack: Stack) -> list[dict[str, Any]]:
    async with _database(stack, "feedback") as conn:
        open_rounds = {str(row["id"]) for row in await conn.fetch("select id from rounds where state = 'open'")}
        issued = await conn.fetch("select payload from outbox where type = 'medled.invitation.issued.v1'")
    facts = [json.loads(row["payload"]) for row in issued]
    return [fact for fact in facts if fact["round_id"] in open_rounds]


async def _login_of(stack: Stack, person_id: str) -> str:
    async with _database(stack, "enrolment") as conn:
        login: str = await conn.fetchval("select login from people where id = $1", UUID(person_id))
    return login


@asynccontextmanager
async def _database(stack: Stack, service: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    conn = await asyncpg.connect(stack.databases[service])
    try:
        yield conn
    finally:
        await conn.close()


def _time_passes(stack: Stack, seconds: float) -> None:
    new = stack.clock_file.with_suffix(".new")
    new.write_text(str(float(stack.clock_file.read_text()) + seconds))
    new.replace(stack.clock_file)
