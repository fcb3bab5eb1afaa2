"""Commands that act on a service's own database, and commands that use the API as anybody would."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx

from deploy.output import fail
from deploy.stack import NoStackError, find_stack, named_databases
from services.enrolment.access import actions
from shared.clock import Clock
from shared.events import Role
from shared.postgres.pool import Pool, create_pool
from shared.postgres.transaction import transaction
from shared.settings import Settings

_LENT_FOR = timedelta(hours=2)


def settings_of(service: str, data: Path | None, *, elsewhere: str | None = None) -> Settings:
    """A service's settings: the MEDLED_* variables where MEDLED_DATABASE_URL is set, or MEDLED_DATABASES names the
    service's; else the embedded stack's. `elsewhere`: what to advise whoever has neither.
    """
    if "MEDLED_DATABASE_URL" in os.environ:
        return Settings()
    if (dsn := named_databases().get(service)) is not None:
        return Settings(database_url=dsn)
    try:
        environment = find_stack(data).environment_for(service)
    except NoStackError as reason:
        fail(f"{reason} " + (elsewhere or f"For another deployment, set the {service} service's MEDLED_* settings."))
    return Settings(**{name.removeprefix("MEDLED_").lower(): value for name, value in environment.items()})  # type: ignore[arg-type] # pydantic reads the texts as it reads the variables


@asynccontextmanager
async def database_of(service: str, data: Path | None) -> AsyncIterator[tuple[Pool, Clock]]:
    """The service's database and clock, for a command that the operating system lets act as the service."""
    settings = settings_of(service, data)
    pool = await create_pool(settings, name="medled-cli")
    try:
        yield pool, Clock(settings.clock_file)
    finally:
        await pool.close()


def public_url(data: Path | None) -> str:
    """Where the API that `api` speaks to has its pages."""
    if "MEDLED_TOKEN" in os.environ and "MEDLED_PUBLIC_URL" in os.environ:
        return os.environ["MEDLED_PUBLIC_URL"].rstrip("/")
    return str(settings_of("enrolment", data).public_url).rstrip("/")


@asynccontextmanager
async def api(role: Role, data: Path | None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API: with MEDLED_TOKEN at MEDLED_PUBLIC_URL, else with a token lent by the embedded stack."""
    if "MEDLED_TOKEN" in os.environ:
        if "MEDLED_PUBLIC_URL" not in os.environ:
            fail("MEDLED_TOKEN is set; set MEDLED_PUBLIC_URL too, to say where it is good.")
        async with _client(os.environ["MEDLED_PUBLIC_URL"], os.environ["MEDLED_TOKEN"]) as client:
            yield client
        return
    settings = settings_of(
        "enrolment", data, elsewhere="For another deployment, set MEDLED_PUBLIC_URL and MEDLED_TOKEN (`medled token`)."
    )
    async with database_of("enrolment", data) as (pool, clock):
        now = clock.now()
        async with transaction(pool) as conn:
            token, holder = await actions.issue(
                conn, actions.CONSOLE, "medled (command line)", role, None, expires_at=now + _LENT_FOR, now=now
            )
        try:
            async with _client(settings.public_url, token) as client:
                yield client
        finally:
            async with transaction(pool) as conn:
                await actions.withdraw(conn, actions.CONSOLE, holder.principal, now=clock.now())


def _client(url: str, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=120, trust_env=False)
