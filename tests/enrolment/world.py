"""A small organisation in a real database, and its people as HTTP clients."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from fastapi import FastAPI

from services.enrolment.service import SERVICE
from services.enrolment.settings import EnrolmentSettings
from shared.events import REGISTRY, Event, Role
from shared.ids import new_id, random_id
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction
from shared.security.machine_tokens import issue_token
from shared.security.session import COOKIE
from tests.support.settings import make_settings
from tests.support.signing_in import PEOPLE, session_of

ORIGIN = "http://127.0.0.1:8080"
TITLE = {"sv": "Att leda möten", "en": "Leading meetings"}
MEETING: dict[str, Any] = {
    "key": "first_meeting",
    "title": {"sv": "Led ett möte", "en": "Lead a meeting"},
    "practices": ["leading_meetings", "shared_understanding"],
    "feedback": {"kind": "milestone", "groups": ["self", "manager", "peer"], "days_open": 14},
}
GROUP: dict[str, Any] = {
    "key": "working_group",
    "title": {"sv": "Starta en arbetsgrupp", "en": "Start a working group"},
    "practices": ["forming_groups"],
}


@dataclass
class World:
    """The organisation: `hq` is the top unit, `north` and `south` lie below it."""

    app: FastAPI
    settings: EnrolmentSettings
    clock_file: Path
    stack: AsyncExitStack
    hq: UUID = field(default_factory=new_id)
    north: UUID = field(default_factory=new_id)
    south: UUID = field(default_factory=new_id)
    _clients: dict[str, httpx.AsyncClient] = field(default_factory=dict)

    @property
    def pool(self) -> Pool:
        pool: Pool = self.app.state.pool
        return pool

    @property
    def now(self) -> datetime:
        now: datetime = self.app.state.clock.now()
        return now

    def pass_time(self, delta: timedelta) -> None:
        """Shift the clock of everybody from here on."""
        self.clock_file.write_text(str(delta.total_seconds()))
        self.app.state.clock._read_at = -1.0

    async def person(
        self, login: str, *, unit: UUID | None = None, manager: UUID | None = None, status: str = "active"
    ) -> UUID:
        """Somebody the HR platform sent; `login` is also the given name."""
        [person_id] = await self.people([login], unit=unit, manager=manager, status=status)
        return person_id

    async def people(
        self, logins: Iterable[str], *, unit: UUID | None = None, manager: UUID | None = None, status: str = "active"
    ) -> list[UUID]:
        """Several such people."""
        rows = [(random_id(), login) for login in logins]
        await self.pool.executemany(
            """
            insert into people (id, source, employee_id, login, given_name, family_name, unit_id, manager_id, status,
                                locale, time_zone, changed_at)
            values ($1, 'hr', $2, $2, $2, 'Test', $3, $4, $5, 'en', 'Europe/Stockholm', now())
            """,
            [(person_id, login, unit or self.hq, manager, status) for person_id, login in rows],
        )
        PEOPLE.update({login: person_id for person_id, login in rows})
        return [person_id for person_id, _ in rows]

    async def grant(self, person_id: UUID, role: Role, *units: UUID) -> None:
        """Give a role, everywhere unless units are named."""
        await self.pool.execute(
            """
            insert into access (principal, kind, person_id, name, roles) values ($1, 'person', $2, 'Test', $3)
            on conflict (principal) do update set roles = access.roles || excluded.roles
            """,
            f"person:{person_id}",
            person_id,
            {role.value: [str(unit) for unit in units] or None},
        )

    async def machine(self, name: str, role: Role) -> str:
        """A machine's token with a role everywhere."""
        token, state = issue_token(name, {role: None}, None)
        await self.pool.execute(
            "insert into access (principal, kind, name, token_hash, roles) values ($1, 'machine', $2, $3, $4)",
            state.principal,
            name,
            bytes.fromhex(state.token_hash or ""),
            state.model_dump(mode="json")["roles"],
        )
        return token

    async def office(self, login: str = "office", *units: UUID) -> httpx.AsyncClient:
        """Somebody of the programme office, as a client."""
        await self.grant(await self.person(login), Role.programme_office, *units)
        return self.client(login)

    def client(self, login: str) -> httpx.AsyncClient:
        """The person with this login, signed in."""
        if login not in self._clients:
            self._clients[login] = httpx.AsyncClient(
                transport=httpx.ASGITransport(self.app),
                base_url=ORIGIN,
                headers={"sec-fetch-site": "same-origin"},
                cookies={COOKIE: session_of(self.settings, login)},
            )
        return self._clients[login]

    async def cohort(self, office: httpx.AsyncClient, *, capacity: int = 40, **more: Any) -> str:
        """An open cohort of a new programme with the milestones MEETING and GROUP; its id."""
        plan = {"title": TITLE, "milestones": [MEETING, GROUP]}
        programme = (await ok(office.post("/enrolment/v1/programmes", json=plan), 201))["programme_id"]
        await ok(office.post(f"/enrolment/v1/programmes/{programme}/versions/1/publish"))
        return await self.cohort_of(office, programme, capacity=capacity, **more)

    async def cohort_of(self, office: httpx.AsyncClient, programme: str, **more: Any) -> str:
        """An open cohort of a programme that is published; its id."""
        cohort: str = (await ok(office.post("/enrolment/v1/cohorts", json=a_cohort(programme, **more)), 201))["id"]
        await ok(office.post(f"/enrolment/v1/cohorts/{cohort}/open"))
        return cohort

    async def events(self, *types: type[Event]) -> list[Any]:
        """What was announced, of these types or of all, in the order of the outbox."""
        rows = await self.pool.fetch(
            "select type, payload from outbox where $1::text[] = '{}' or type = any($1) order by seq",
            [event.type for event in types],
        )
        return [REGISTRY[row["type"]].decode(row["payload"]) for row in rows]


def a_cohort(programme: str, **more: Any) -> dict[str, Any]:
    """The body that plans a cohort."""
    return {
        "programme_id": programme,
        "name": "Spring",
        "capacity": 40,
        "starts_on": "2026-03-02",
        "ends_on": "2026-06-12",
    } | more


async def ok(sending: Any, status: int = 200) -> Any:
    """The JSON of a response that must have succeeded."""
    response: httpx.Response = await sending
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    return response.json()


async def refused(sending: Any, status: int, kind: str) -> Mapping[str, Any]:
    """The problem of a response that must have been refused."""
    response: httpx.Response = await sending
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"{ORIGIN}/problems/{kind}", problem
    assert problem["detail"]
    return problem


@asynccontextmanager
async def opened(dsn: str, folder: Path, **overrides: Any) -> AsyncIterator[World]:
    """The service's API in this process, on this database."""
    clock_file = folder / "clock"
    settings = make_settings(EnrolmentSettings, dsn, clock_file=clock_file, **overrides)
    app = SERVICE.create_api(settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        world = World(app, settings, clock_file, stack)
        async with transaction(world.pool) as conn:
            await _units(conn, world)
        yield world
        for client in world._clients.values():
            await client.aclose()


async def _units(conn: Connection, world: World) -> None:
    await conn.executemany(
        "insert into units (id, name, parent_id) values ($1, $2, $3)",
        [(world.hq, "HQ", None), (world.north, "North", world.hq), (world.south, "South", world.hq)],
    )
