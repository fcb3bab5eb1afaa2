"""Every service gets a database and a role of its own."""

import asyncpg
import pytest

from deploy.embedded.postgres import EmbeddedPostgres
from deploy.provision import create_databases


async def test_a_services_role_reaches_its_own_database_only_and_a_second_run_changes_nothing(
    postgres: EmbeddedPostgres,
) -> None:
    passwords = {"enrolment": "one's", "feedback": "two/@:"}
    databases = await create_databases(postgres.dsn(), passwords)
    conn = await asyncpg.connect(databases["enrolment"])
    await conn.execute("create table kept ()")
    await conn.close()

    again = await create_databases(postgres.dsn(), passwords)

    assert again == databases
    conn = await asyncpg.connect(databases["enrolment"])
    assert await conn.fetchval("select to_regclass('kept')") is not None
    await conn.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(databases["enrolment"].replace("/medled_enrolment?", "/medled_feedback?"))


async def test_an_admin_that_is_no_superuser_is_enough(postgres: EmbeddedPostgres) -> None:
    conn = await asyncpg.connect(postgres.dsn())
    await conn.execute("create role admin login createdb createrole")
    await conn.close()
    databases = await create_databases(postgres.dsn(role="admin"), {"portal": "secret"})
    conn = await asyncpg.connect(databases["portal"])
    await conn.execute("create table mine ()")
    await conn.close()
