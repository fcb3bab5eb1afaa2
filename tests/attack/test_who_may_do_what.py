"""Every route, asked as everybody: whoever is not named for it gets nothing, and changes nothing.

A route that is added stands in no table here and fails, until somebody has decided who it is for.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from deploy.demo.house import House, entered, until
from deploy.demo.sample import CO_LEADER, OFFICE, OPERATOR, Organisation, load_organisation
from deploy.demo.signing_in import write_people
from deploy.embedded.process import free_port
from deploy.local import Options, running
from deploy.services import SERVICES
from deploy.stack import Stack
from tests.support.released import restore
from tests.support.services import api_of

pytestmark = pytest.mark.timeout(240)

MACHINES = frozenset({"stream_reader", "hr_integration"})
PEOPLE = frozenset({"colleague", "other_manager", "co_leader", "manager", "office", "operator"})
SIGNED_IN = PEOPLE | MACHINES
ANYBODY = SIGNED_IN | {"nobody"}
AROUND = frozenset({"co_leader", "manager", "office"})  # of the co-leader whose things are asked for
LOG_READERS = frozenset({"office", "operator"})
OFFICE_ONLY = frozenset({"office"})
OPERATOR_ONLY = frozenset({"operator"})
ANSWERERS = frozenset({"manager", "office"})

REFUSED = frozenset({400, 401, 403, 404, 410})
_PLAN = {"title": {"sv": "Mitt", "en": "Mine"}, "milestones": []}
_PLAN_TYPED = {"title.sv": "Mitt", "title.en": "Mine"}
_DAYS = {"starts_on": "2027-03-01", "ends_on": "2027-06-01"}
_COHORT_TYPED = {"name": "Mine", "capacity": "5", **_DAYS}

# What is asked for is the co-leader's own: their enrolment, their round. Lists of one's own things are open to whoever
# is signed in, and hold nothing of others: `test_lists_of_ones_own_hold_nothing_of_others`.
MAY_READ: Mapping[str, frozenset[str]] = {
    "/enrolment/v1/people": frozenset({"office", "hr_integration"}),
    "/enrolment/v1/people/{person_id}": AROUND | {"hr_integration"},
    "/enrolment/v1/imports": frozenset({"office", "hr_integration"}),
    "/enrolment/v1/imports/{import_id}": frozenset({"office", "hr_integration"}),
    "/enrolment/v1/access": LOG_READERS,
    "/enrolment/v1/programmes": SIGNED_IN,
    "/enrolment/v1/programmes/{programme_id}": SIGNED_IN,
    "/enrolment/v1/cohorts": SIGNED_IN,
    "/enrolment/v1/cohorts/{cohort_id}": SIGNED_IN,
    "/enrolment/v1/enrolments": SIGNED_IN,
    "/enrolment/v1/enrolments/{enrolment_id}": AROUND,
    "/enrolment/v1/enrolments/{enrolment_id}/milestones": AROUND,
    "/enrolment/v1/waiting": SIGNED_IN,
    "/enrolment/v1/me": SIGNED_IN,
    "/enrolment/v1/sign-ins": OPERATOR_ONLY,
    "/enrolment/v1/sign-ins/refused": OPERATOR_ONLY,
    "/enrolment/sign-in": frozenset(),  # without what the portal sealed for this browser
    "/enrolment/": ANYBODY,
    "/enrolment/me": SIGNED_IN,
    "/enrolment/me/{enrolment_id}/withdraw": frozenset({"co_leader"}),
    "/enrolment/me/{enrolment_id}/milestones/{key}/reach": frozenset({"co_leader"}),
    "/enrolment/approvals": SIGNED_IN,
    "/enrolment/approvals/{enrolment_id}/decline": AROUND,
    "/enrolment/approvals/{enrolment_id}/answered": AROUND,
    "/enrolment/programmes": SIGNED_IN,
    "/enrolment/programmes/new": OFFICE_ONLY,
    "/enrolment/programmes/{programme_id}": SIGNED_IN,
    "/enrolment/programmes/{programme_id}/versions/new": OFFICE_ONLY,
    "/enrolment/programmes/{programme_id}/versions/{version}/edit": OFFICE_ONLY,
    "/enrolment/programmes/{programme_id}/versions/{version}/publish": OFFICE_ONLY,
    "/enrolment/programmes/{programme_id}/versions/{version}/retire": OFFICE_ONLY,
    "/enrolment/programmes/{programme_id}/cohorts/new": OFFICE_ONLY,
    "/enrolment/cohorts/{cohort_id}": frozenset({"office"}),
    "/enrolment/cohorts/{cohort_id}/close": frozenset({"office"}),
    "/enrolment/people": frozenset({"office", "hr_integration"}),
    "/enrolment/people/{person_id}": AROUND | {"hr_integration"},
    "/enrolment/imports": frozenset({"office", "hr_integration"}),
    "/enrolment/imports/{import_id}": frozenset({"office", "hr_integration"}),
    "/enrolment/imports/{import_id}/cancel": frozenset({"office", "hr_integration"}),
    "/enrolment/imports/{import_id}/discard": frozenset({"office", "hr_integration"}),
    "/enrolment/imports/{import_id}/issues.csv": frozenset({"office", "hr_integration"}),
    "/enrolment/imports/new": frozenset({"office", "hr_integration"}),
    "/feedback/v1/responses/{token}": frozenset(),
    "/feedback/r/{token}": frozenset(),
    "/feedback/r/{token}/decline": frozenset(),
    "/feedback/v1/rounds": SIGNED_IN,
    "/feedback/v1/rounds/{round_id}/results": frozenset({"co_leader"}),
    "/feedback/": SIGNED_IN,
    "/feedback/rounds/{round_id}": frozenset({"co_leader"}),
    "/feedback/rounds/{round_id}/results.csv": frozenset({"co_leader"}),
    "/notifications/v1/deliveries": LOG_READERS,
    "/notifications/v1/deliveries/summary": LOG_READERS,
    "/notifications/v1/deliveries/{delivery_id}": LOG_READERS,
    "/notifications/": ANYBODY,
    "/notifications": ANYBODY,
    "/notifications/deliveries": LOG_READERS,
    "/": SIGNED_IN,
    "/organisation": PEOPLE | {"stream_reader"},
    "/portal/v1/overview": PEOPLE | {"stream_reader"},
    "/portal/v1/events": PEOPLE | {"stream_reader"},
    "/portal/v1/stream": PEOPLE | {"stream_reader"},
    "/login": ANYBODY,
    "/callback": frozenset(),  # without an attempt that this browser began
    "/logout": ANYBODY,
    "/problems/{type}": ANYBODY,
    "/codes": ANYBODY,
    "/asyncapi": ANYBODY,
    "/asyncapi.json": ANYBODY,
    "/schemas/{event_type}.json": ANYBODY,
    "/health/live": ANYBODY,
    "/health/ready": ANYBODY,
    **{
        f"/{service}/{page}": ANYBODY
        for service in SERVICES
        for page in ("openapi.json", "health/live", "health/ready")
    },
}

# With what would be taken from those who may: a query, JSON for an API, a form for a page.
MAY_WRITE: Mapping[str, tuple[frozenset[str], Any]] = {
    "POST /enrolment/v1/imports": (frozenset({"office", "hr_integration"}), None),
    "POST /enrolment/v1/imports/{import_id}/cancel": (frozenset({"office", "hr_integration"}), None),
    "POST /enrolment/v1/grants": (LOG_READERS, {"person_id": "{person_id}", "role": "operator"}),
    "DELETE /enrolment/v1/grants": (LOG_READERS, {"person_id": "{person_id}", "role": "operator"}),
    "POST /enrolment/v1/tokens": (LOG_READERS, {"name": "mine", "role": "operator"}),
    "DELETE /enrolment/v1/tokens/{principal}": (LOG_READERS, None),
    "POST /enrolment/v1/sign-ins": (OPERATOR_ONLY, {"person_id": "{person_id}", "subject": "mine"}),
    "DELETE /enrolment/v1/sign-ins": (OPERATOR_ONLY, {"person_id": "{person_id}"}),
    "POST /enrolment/v1/programmes": (OFFICE_ONLY, _PLAN),
    "POST /enrolment/v1/programmes/{programme_id}/versions": (OFFICE_ONLY, _PLAN),
    "PUT /enrolment/v1/programmes/{programme_id}/versions/{version}": (OFFICE_ONLY, _PLAN),
    "POST /enrolment/v1/programmes/{programme_id}/versions/{version}/publish": (OFFICE_ONLY, None),
    "POST /enrolment/v1/programmes/{programme_id}/versions/{version}/retire": (OFFICE_ONLY, None),
    "POST /enrolment/v1/cohorts": (
        OFFICE_ONLY,
        {"programme_id": "{programme_id}", "name": "Mine", "capacity": 5, **_DAYS},
    ),
    "POST /enrolment/v1/cohorts/{cohort_id}/open": (OFFICE_ONLY, None),
    "POST /enrolment/v1/cohorts/{cohort_id}/start": (OFFICE_ONLY, None),
    "POST /enrolment/v1/cohorts/{cohort_id}/close": (OFFICE_ONLY, None),
    "POST /enrolment/v1/cohorts/{cohort_id}/capacity": (OFFICE_ONLY, {"capacity": 500}),
    "POST /enrolment/v1/enrolments": (PEOPLE, {"cohort_id": "{cohort_id}"}),
    "POST /enrolment/v1/enrolments/{enrolment_id}/approve": (ANSWERERS, None),
    "POST /enrolment/v1/enrolments/{enrolment_id}/decline": (ANSWERERS, None),
    "POST /enrolment/v1/enrolments/{enrolment_id}/withdraw": (AROUND, None),
    "POST /enrolment/v1/enrolments/{enrolment_id}/milestones/{key}/reach": (frozenset({"co_leader"}), None),
    "POST /enrolment/v1/enrolments/{enrolment_id}/milestones/{key}/attest": (ANSWERERS, None),
    "POST /enrolment/v1/enrolments/{enrolment_id}/milestones/{key}/waive": (OFFICE_ONLY, None),
    "POST /enrolment/v1/enrolments/{enrolment_id}/milestones/{key}/undo": (AROUND, None),
    "POST /enrolment/me/ask": (PEOPLE, {"cohort_id": "{cohort_id}"}),
    "POST /enrolment/me/{enrolment_id}/milestones/{key}/reach": (frozenset({"co_leader"}), None),
    "POST /enrolment/me/{enrolment_id}/milestones/{key}/undo": (AROUND, None),
    "POST /enrolment/me/{enrolment_id}/withdraw": (AROUND, None),
    "POST /enrolment/approvals/{enrolment_id}/{answer}": (ANSWERERS, None),
    "POST /enrolment/approvals/{enrolment_id}/milestones/{key}/attest": (ANSWERERS, None),
    "POST /enrolment/programmes/new": (OFFICE_ONLY, _PLAN_TYPED),
    "POST /enrolment/programmes/{programme_id}/versions/new": (OFFICE_ONLY, _PLAN_TYPED),
    "POST /enrolment/programmes/{programme_id}/versions/{version}/edit": (OFFICE_ONLY, _PLAN_TYPED),
    "POST /enrolment/programmes/{programme_id}/versions/{version}/publish": (OFFICE_ONLY, {}),
    "POST /enrolment/programmes/{programme_id}/versions/{version}/retire": (OFFICE_ONLY, {}),
    "POST /enrolment/programmes/{programme_id}/cohorts/new": (OFFICE_ONLY, _COHORT_TYPED),
    "POST /enrolment/cohorts/{cohort_id}/capacity": (OFFICE_ONLY, {"capacity": "500"}),
    "POST /enrolment/cohorts/{cohort_id}/{step}": (OFFICE_ONLY, None),
    "POST /enrolment/imports/{import_id}/cancel": (frozenset({"office", "hr_integration"}), None),
    "POST /enrolment/imports": (frozenset({"office", "hr_integration"}), None),
    "POST /enrolment/imports/{import_id}/again": (frozenset({"office", "hr_integration"}), None),
    "POST /enrolment/imports/{import_id}/allow": (frozenset({"office", "hr_integration"}), {"sure": "yes"}),
    "POST /enrolment/imports/{import_id}/look": (frozenset({"office", "hr_integration"}), None),
    "POST /enrolment/imports/{import_id}/import": (frozenset({"office", "hr_integration"}), None),
    "POST /enrolment/imports/{import_id}/discard": (frozenset({"office", "hr_integration"}), None),
    "POST /feedback/v1/responses/{token}": (frozenset(), {"answers": {}}),
    "POST /feedback/v1/responses/{token}/decline": (frozenset(), None),
    "POST /feedback/r/{token}": (frozenset(), None),
    "POST /feedback/r/{token}/decline": (frozenset(), None),
    "POST /notifications/v1/deliveries/{delivery_id}/retry": (LOG_READERS, None),
    "POST /notifications/deliveries/{delivery_id}/retry": (LOG_READERS, None),
    "POST /logout": (ANYBODY, None),
}  # fmt: skip


class Everybody:
    """The stack with one of each: what they carry, and the ids of what they ask for."""

    def __init__(self, stack: Stack, house: House) -> None:
        self.stack = stack
        self.house = house
        self.carries: dict[str, dict[str, str]] = {"nobody": {}}
        self.ids: dict[str, str] = {
            "token": "x" * 43, "key": "mandate", "version": "1", "answer": "approve", "step": "close",
            "type": "not-found", "event_type": "medled.milestone.reached.v1",
        }  # fmt: skip

    async def arrive(self) -> None:
        logins = _logins(load_organisation())
        for who, login in logins.items():
            self.carries[who] = await self.house.headers(login)
        for role in sorted(MACHINES):
            issued = await self.house.post(
                OPERATOR, "/enrolment/v1/tokens", {"name": role, "role": role}, key=str(uuid4())
            )
            self.carries[role] = {"authorization": f"Bearer {issued['token']}"}
        for who in sorted(SIGNED_IN):
            await until(f"{who} is known everywhere", partial(self._is_known, who))
        await self._look_around()

    async def ask(self, who: str, method: str, path: str, sent: Any = None) -> httpx.Response:
        headers = {**self.carries[who], "sec-fetch-site": "same-origin", "idempotency-key": f"{who} {path}"}
        way = "params" if method in ("GET", "DELETE") else "json" if "/v1/" in path else "data"
        said = {way: _filled(sent, self.ids)} if sent is not None else {}
        return await self.house.http.request(method, path.format(**self.ids), headers=headers, **said)

    async def _is_known(self, who: str) -> bool:
        paths = ("/feedback/v1/rounds", "/notifications/v1/deliveries", "/portal/v1/overview")
        answers = [await self.ask(who, "GET", path) for path in paths]
        return not any(answer.status_code == httpx.codes.UNAUTHORIZED or "unbound" in answer.text for answer in answers)

    async def _look_around(self) -> None:
        get = self.house.all_of
        mine = (await get(CO_LEADER, "/enrolment/v1/enrolments", mine="true"))[0]
        held = await get(OPERATOR, "/enrolment/v1/access")
        self.ids |= {name: mine[name] for name in ("person_id", "programme_id", "cohort_id")}
        self.ids |= {
            "enrolment_id": mine["id"],
            "principal": next(one["principal"] for one in held if one["name"] == "stream_reader"),
            "round_id": (await get(CO_LEADER, "/feedback/v1/rounds"))[-1]["id"],
            "import_id": (await get(OFFICE, "/enrolment/v1/imports"))[0]["id"],
            "delivery_id": (await get(OPERATOR, "/notifications/v1/deliveries"))[0]["id"],
        }


def _logins(organisation: Organisation) -> dict[str, str]:
    """One person of each kind; the other manager works in another part of the organisation."""
    co_leader = organisation.by_login[CO_LEADER]
    manager = organisation.manager_of(co_leader)
    managers = {person.manager_id for person in organisation.people}
    part = co_leader.unit.split(" - ")[1]
    other = next(
        person for person in organisation.people
        if person.at_work and person.employee_id in managers and person.unit.count(" - ") > 1
        and person.unit.split(" - ")[1] != part and person.login not in (OFFICE, OPERATOR)
    )  # fmt: skip
    return {
        "colleague": organisation.peers_of(co_leader)[0].login, "other_manager": other.login, "co_leader": CO_LEADER,
        "manager": manager.login, "office": OFFICE, "operator": OPERATOR,
    }  # fmt: skip


def _is_refused(answer: httpx.Response) -> bool:
    """Told to sign in, that it is not theirs, or that there is no such thing; browsers are sent to the login page."""
    return answer.status_code in REFUSED or answer.headers.get("location", "").startswith("/login")


def _filled(body: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(body, dict):
        return {name: _filled(value, ids) for name, value in body.items()}
    return body.format(**ids) if isinstance(body, str) else body


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything, on what 0.1.0 left after its demo: people, enrolments, rounds, deliveries of every kind."""
    data = tmp_path_factory.mktemp("attack") / "data"
    restore("0.1.0", data)
    write_people(data, load_organisation())
    with running(Options(data, port=free_port()), lambda _: None) as (started, _):
        yield started


@asynccontextmanager
async def _arrived(stack: Stack) -> AsyncIterator[Everybody]:
    async with entered(stack.public_url) as house:
        everybody = Everybody(stack, house)
        await everybody.arrive()
        yield everybody


def routes() -> dict[str, set[str]]:
    """Every path with its methods, over all services; mounts of files aside."""
    found: dict[str, set[str]] = {}
    for service in SERVICES:
        for path, methods in _routes_of(api_of(service).routes):
            found.setdefault(path, set()).update(methods - {"HEAD", "OPTIONS"})
    return found


def _routes_of(routes: Any) -> Iterator[tuple[str, set[str]]]:
    for route in routes:
        if router := getattr(route, "original_router", None):
            yield from _routes_of(router.routes)
        elif methods := getattr(route, "methods", None):
            yield route.path, set(methods)


def test_somebody_has_decided_who_every_route_is_for() -> None:
    everything = routes()
    assert {path for path, methods in everything.items() if "GET" in methods} == set(MAY_READ)
    writing = {f"{method} {path}" for path, methods in everything.items() for method in methods - {"GET"}}
    assert writing == set(MAY_WRITE)


async def test_everybody_reads_what_is_for_them_and_nothing_else(stack: Stack) -> None:
    wrong: list[str] = []
    async with _arrived(stack) as everybody:
        for path, readers in MAY_READ.items():
            if path == "/portal/v1/stream":
                continue  # never ends; who may open it is asked by its own tests
            for who in sorted(ANYBODY):
                answer = await everybody.ask(who, "GET", path)
                if _is_refused(answer) == (who in readers):
                    wrong.append(f"{who} {path}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)


async def test_whoever_is_not_named_changes_nothing(stack: Stack) -> None:
    wrong: list[str] = []
    async with _arrived(stack) as everybody:
        before = await _changes(stack)
        for route, (writers, sent) in MAY_WRITE.items():
            method, _, path = route.partition(" ")
            for who in sorted(ANYBODY - writers):
                answer = await everybody.ask(who, method, path, sent)
                is_sent_back = "/v1/" not in path and answer.is_redirect  # a page says there why nothing was done
                if not (_is_refused(answer) or is_sent_back):
                    wrong.append(f"{who} {route}: {answer.status_code} {answer.text[:200]}")
        assert not wrong, "\n".join(wrong)
        assert await _changes(stack) == before


async def test_lists_of_ones_own_hold_nothing_of_others(stack: Stack) -> None:
    async with _arrived(stack) as everybody:
        for who in sorted(SIGNED_IN - {"co_leader"}):
            rounds = (await everybody.ask(who, "GET", "/feedback/v1/rounds")).json()["items"]
            mine = (await everybody.ask(who, "GET", "/enrolment/v1/enrolments?mine=true")).json()["items"]
            assert everybody.ids["round_id"] not in {one["id"] for one in rounds}
            assert everybody.ids["enrolment_id"] not in {one["id"] for one in mine}
        for who in ("colleague", "other_manager", *sorted(MACHINES)):
            asked = (await everybody.ask(who, "GET", "/enrolment/v1/enrolments?to_approve=true")).json()["items"]
            assert not {one["person_id"] for one in asked} & {everybody.ids["person_id"]}


async def _changes(stack: Stack) -> int:
    """How many events enrolment has ever announced: every change of state announces one."""
    conn = await asyncpg.connect(stack.databases["enrolment"])
    try:
        last: int = await conn.fetchval("select sum(last) from outbox_sequences")
    finally:
        await conn.close()
    return last
