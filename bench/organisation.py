"""An organisation in enrolment's database and, by its events, in everybody's: people who may ask for places."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import asyncpg

from bench.facts import NOW
from deploy.stack import Stack
from services.enrolment.settings import EnrolmentSettings
from shared.events import CohortOpened, Event, PersonState, PersonStatus, ProgrammePublished, Title, UnitState
from shared.ids import new_id, random_id
from shared.messaging import outbox
from shared.postgres.pool import Connection, create_pool
from shared.postgres.transaction import transaction
from shared.security.session import COOKIE, new_session

_PEOPLE, _COHORTS = 200, 200


@dataclass(frozen=True, slots=True)
class Wish:
    """One request for a place that nobody has made yet: the person's cookies and the body."""

    cookies: dict[str, str]
    body: dict[str, str]


async def found(stack: Stack) -> Iterator[Wish]:
    """Set the organisation up, wait until notifications and portal know it, and give its wishes, each once."""
    settings = _settings(stack)
    unit, people = new_id(), {random_id(): f"bench-{nth}" for nth in range(_PEOPLE)}
    cohorts = {new_id(): new_id() for _ in range(_COHORTS)}  # each of its own programme: people hold one place in each
    async with await create_pool(settings, name="bench") as pool, transaction(pool) as conn:
        await _insert(conn, unit, people, cohorts)
        await outbox.add(conn, *_events(unit, people, cohorts), now=NOW)
    await _until_known(stack)
    cookies = {person: {COOKIE: new_session(settings, person, login, login)} for person, login in people.items()}
    return (Wish(cookies[person], {"cohort_id": str(cohort)}) for cohort in cohorts for person in people)


def _settings(stack: Stack) -> EnrolmentSettings:
    environment = stack.environment_for("enrolment")
    names = {name: environment.get(f"MEDLED_{name.upper()}") for name in EnrolmentSettings.model_fields}
    return EnrolmentSettings.model_validate({name: value for name, value in names.items() if value is not None})


async def _insert(conn: Connection, unit: UUID, people: dict[UUID, str], cohorts: dict[UUID, UUID]) -> None:
    await conn.execute("insert into units (id, name) values ($1, 'Bench')", unit)
    await conn.execute(
        """
        insert into people (id, source, employee_id, login, given_name, family_name, unit_id, status, locale, time_zone,
                            changed_at)
        select id, 'bench', login, login, login, 'Berg', $3, 'active', 'sv', 'Europe/Stockholm', now()
        from unnest($1::uuid[], $2::text[]) as t(id, login)
        """,
        list(people), list(people.values()), unit,
    )  # fmt: skip
    programmes = list(cohorts.values())
    await conn.execute("insert into programmes select id, now() from unnest($1::uuid[]) as t(id)", programmes)
    await conn.execute(
        """
        insert into programme_versions (programme_id, version, status, title, milestones, created_at, published_at)
        select id, 1, 'published', '{"sv": "Leda", "en": "Lead"}', '[]', now(), now() from unnest($1::uuid[]) as t(id)
        """,
        programmes,
    )
    await conn.execute(
        """
        insert into cohorts
            (id, programme_id, programme_version, name, capacity, starts_on, ends_on, status, created_at)
        select id, programme, 1, id::text, 1000, '2026-12-01', '2027-12-01', 'open', now()
        from unnest($1::uuid[], $2::uuid[]) as t(id, programme)
        """,
        list(cohorts), programmes,
    )  # fmt: skip


def _events(unit: UUID, people: dict[UUID, str], cohorts: dict[UUID, UUID]) -> list[Event]:
    return [
        UnitState(unit_id=unit, name="Bench"),
        *[
            PersonState(
                person_id=person, login=login, employee_id=login, given_name=login, family_name="Berg", unit_id=unit,
                status=PersonStatus.active, locale="sv", time_zone="Europe/Stockholm",
            )
            for person, login in people.items()
        ],
        *[
            ProgrammePublished(programme_id=programme, version=1, title=Title(sv="Leda", en="Lead"), milestones=())
            for programme in cohorts.values()
        ],
        *[
            CohortOpened(
                cohort_id=cohort, programme_id=programme, programme_version=1, name=str(cohort), capacity=1000,
                starts_on=date(2026, 12, 1), ends_on=date(2027, 12, 1),
            )
            for cohort, programme in cohorts.items()
        ],
    ]  # fmt: skip


async def _until_known(stack: Stack) -> None:
    conn = await asyncpg.connect(stack.databases["notifications"])
    known = """
        select (select count(*) from people) >= $1
           and (select count(*) from inbox where handler = 'notifications.routing.keep_titles') >= $2
    """
    async with asyncio.timeout(120):
        while not await conn.fetchval(known, _PEOPLE, 2 * _COHORTS):
            await asyncio.sleep(0.2)
    await conn.close()
