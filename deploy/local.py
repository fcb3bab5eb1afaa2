"""The embedded stack (`medled up`): the whole of Medled on one machine, wired on this page.

Postgres, broker, mail sink, issuer; then an API and a worker process for every service. Everything listens on loopback
and is a child of this process, which ends them all when it ends, however it ends.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

import asyncpg
from aiokafka.errors import KafkaError

from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.process import Child, free_port
from deploy.embedded.tansu import TansuBroker
from deploy.provision import create_databases, migrate_all
from deploy.services import SERVICES
from deploy.stack import Ports, Stack, settings_for, write_private, write_stack
from deploy.supervisor import Member, Supervisor, answers_on, healthy_on
from shared.messaging.topic_admin import ensure_topics

_ROOT = Path(__file__).resolve().parents[1]
_SERVER_SECONDS, _SERVICE_SECONDS = 30, 60
_SECRETS = ("session", "link", "ballot", "postgres", *SERVICES)


class CannotStartError(RuntimeError):
    """The stack cannot start here and now; the message says why and what to do, in a sentence."""


@dataclass(frozen=True)
class Options:
    """What a person may choose. `broker` and `database` name real servers to use instead of the embedded ones."""

    data: Path
    port: int = 8080
    broker: str | None = None
    database: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)  # further settings for every service
    elsewhere: Collection[str] = ()  # processes that somebody else starts, like `portal-worker`

    @property
    def public_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def issuer(self) -> str:
        return f"{self.public_url}/issuer"


@contextmanager
def running(options: Options, say: Callable[[str], None]) -> Iterator[tuple[Stack, Supervisor]]:
    """The stack, started and ready; ended when the block ends. Call it from the main thread.

    Raises `CannotStartError`, `StartFailedError` (a process did not come up) or `MigrationFailedError`.
    """
    try:
        options.data.mkdir(parents=True, exist_ok=True, mode=0o700)  # people's mail and data lie here
    except OSError as error:
        raise CannotStartError(
            f"{options.data} cannot be made ({error.strerror}); choose another with --data."
        ) from error
    with _only_one(options), contextlib.ExitStack() as cleanup:
        _refuse_taken_port(options.port)
        _set_old_logs_aside(options.data)
        supervisor = Supervisor(say)
        cleanup.callback(supervisor.stop)
        stack = _start(options, supervisor, say)
        cleanup.callback((options.data / "stack.json").unlink, missing_ok=True)
        yield stack, supervisor


def _start(options: Options, supervisor: Supervisor, say: Callable[[str], None]) -> Stack:
    plan = _Plan(options, say)
    supervisor.start(plan.servers(), _SERVER_SECONDS)
    databases = _databases(plan)
    say("databases are migrated")
    _topics(plan.bootstrap)
    say("topics are there")
    settings = plan.settings()
    supervisor.start(plan.services(databases, settings), _SERVICE_SECONDS)
    stack = Stack(
        pid=os.getpid(),
        started_at=datetime.now(UTC),
        data=options.data,
        public_url=options.public_url,
        oidc_issuer=options.issuer,
        kafka_bootstrap=plan.bootstrap,
        kafka_transactions=plan.broker is None,
        databases=databases,
        ports=plan.ports,
        pids=supervisor.pids(),
        environment=settings,
    )
    write_stack(stack)
    return stack


class _Plan:
    """What runs where. Building it starts nothing."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        logs = options.data / "logs"
        self.options = options
        self.keys = _keys(options.data)
        # Chosen first, so that none of the ports below is the one that consumers know the broker by.
        broker_port = 0 if options.broker else _broker_port(options.data, say)
        self.ports = {service: Ports(api=free_port(), worker=free_port()) for service in SERVICES}
        self.ports["portal"] = Ports(api=options.port, worker=free_port())  # the one people know
        self.smtp_port, self.issuer_port = free_port(), free_port()
        self.postgres = (
            None
            if options.database
            else EmbeddedPostgres(options.data / "postgres", password=self.keys["postgres"], log=logs / "postgres.log")
        )
        # It forgets when it ends; the relays notice and publish again what the databases keep.
        self.broker = None if options.broker else TansuBroker(options.data, broker_port, log=logs / "broker.log")
        self.bootstrap = options.broker or (self.broker.bootstrap if self.broker else "")
        self.admin_dsn = options.database or (self.postgres.dsn() if self.postgres else "")

    def servers(self) -> list[Member]:
        """What the services stand on."""
        members = []
        if self.broker:
            bootstrap = self.bootstrap
            members.append(
                Member(self.broker.child, lambda: True, start=self.broker.start, recover=lambda: _topics(bootstrap))
            )
        if self.postgres:
            members.append(Member(self.postgres.child, lambda: True, start=self.postgres.start))
        sink = {"MEDLED_PORT": str(self.smtp_port), "MEDLED_MAIL_DIR": str(self.options.data / "mail")}
        issuer = {
            "MEDLED_PORT": str(self.issuer_port),
            "MEDLED_ISSUER_PEOPLE": str(self.options.data / "issuer-people.json"),
            "MEDLED_ISSUER_KEY": str(self.options.data / "issuer-key.json"),
        }
        return [
            *members,
            Member(_program("mail-sink", ["deploy.mailsink"], self.options, sink), answers_on(self.smtp_port)),
            Member(
                _program("issuer", ["deploy.issuer"], self.options, self._common() | issuer),
                answers_on(self.issuer_port),
            ),
        ]

    def services(self, databases: Mapping[str, str], settings: Mapping[str, str]) -> list[Member]:
        """An API and a worker for each service."""
        return [
            Member(_service(service, role, port, databases[service], settings, self.options), healthy_on(port))
            for service in SERVICES
            for role, port in (("api", self.ports[service].api), ("worker", self.ports[service].worker))
            if f"{service}-{role}" not in self.options.elsewhere
        ]

    def settings(self) -> dict[str, str]:
        """What service processes are told; `settings_for` takes out what is not for all of them."""
        upstreams = {
            service: f"http://127.0.0.1:{self.ports[service].api}" for service in SERVICES if service != "portal"
        }
        return {
            **self._common(),
            "MEDLED_KAFKA_BOOTSTRAP": self.bootstrap,
            "MEDLED_KAFKA_TRANSACTIONS": "false" if self.broker else "true",
            "MEDLED_SESSION_SECRET": self.keys["session"],
            "MEDLED_LINK_SECRET": self.keys["link"],
            "MEDLED_BALLOT_SECRET": self.keys["ballot"],
            "MEDLED_SMTP_HOST": "127.0.0.1",
            "MEDLED_SMTP_PORT": str(self.smtp_port),
            "MEDLED_SMTP_SECURITY": "none",
            "MEDLED_MAIL_SENDER": "medled@localhost.localdomain",
            "MEDLED_UPSTREAMS": json.dumps({**upstreams, "issuer": f"http://127.0.0.1:{self.issuer_port}"}),
            **self.options.environment,
        }

    def _common(self) -> dict[str, str]:
        return {
            "MEDLED_ENVIRONMENT": "development",
            "MEDLED_PUBLIC_URL": self.options.public_url,
            "MEDLED_OIDC_ISSUER": self.options.issuer,
            "MEDLED_CLOCK_FILE": str(self.options.data / "clock"),
        }


def _databases(plan: _Plan) -> dict[str, str]:
    try:
        databases = asyncio.run(create_databases(plan.admin_dsn, {service: plan.keys[service] for service in SERVICES}))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CannotStartError(
            f"The databases cannot be made on {urlsplit(plan.admin_dsn).hostname}: {error}"
        ) from error
    migrate_all(databases)
    return databases


def _topics(bootstrap: str) -> None:
    try:
        asyncio.run(ensure_topics(bootstrap))
    except (KafkaError, TimeoutError) as error:
        raise CannotStartError(f"The topics cannot be made on {bootstrap}: {error or type(error).__name__}") from error


def _service(service: str, role: str, port: int, database: str, settings: Mapping[str, str], options: Options) -> Child:
    """The one place where a service process gets its environment."""
    environment = {
        **settings_for(f"{service}-{role}", settings),
        "MEDLED_DATABASE_URL": database,
        "MEDLED_PORT": str(port),
        "MEDLED_SPAN_FILE": str(options.data / "spans" / f"{service}-{role}.jsonl"),
        # The others' requests come from the portal, where traces begin; its own from anybody on this machine.
        "MEDLED_TRUSTED_PROXIES": "" if service == "portal" else "127.0.0.1",
    }
    return _program(f"{service}-{role}", [f"services.{service}", role], options, environment)


def _program(name: str, module: list[str], options: Options, settings: Mapping[str, str]) -> Child:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MEDLED_")}
    path = os.pathsep.join([str(_ROOT), *filter(None, [inherited.get("PYTHONPATH")])])
    return Child(
        name=name,
        command=[sys.executable, "-m", *module],
        log=options.data / "logs" / f"{name}.log",
        environment={**inherited, "PYTHONPATH": path, **settings},
        directory=options.data,
    )


def _keys(data: Path) -> dict[str, str]:
    """Secrets and passwords, made once for this data directory and readable by its owner alone."""
    file = data / "secrets.json"
    known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    if missing := [name for name in _SECRETS if name not in known]:
        known |= {name: secrets.token_urlsafe(32) for name in missing}
        write_private(file, json.dumps(known, indent=2))
    return known


@contextmanager
def _only_one(options: Options) -> Iterator[TextIO]:
    """Hold the data directory; the lock goes with this process, even if it is killed."""
    with (options.data / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CannotStartError(
                f"Medled runs on {options.data} already ({lock.read().strip() or 'just starting'}); "
                "stop that one, or choose another directory with --data."
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, {options.public_url}")
        lock.flush()
        yield lock


def _broker_port(data: Path, say: Callable[[str], None]) -> int:
    """The port this data's broker had before, so that consumers find it again; another when somebody else took it."""
    file = data / "broker-port"
    known = file.read_text().strip() if file.exists() else ""
    if known.isdecimal():
        with contextlib.suppress(OSError), closing(_bound_to(int(known))):
            return int(known)
    port = free_port()
    if known:
        say(f"port {known}, where the broker was before, is taken; it is at 127.0.0.1:{port} from now on")
    file.write_text(str(port))
    return port


def _bound_to(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except BaseException:
        listener.close()
        raise
    return listener


def _refuse_taken_port(port: int) -> None:
    try:
        _bound_to(port).close()
    except PermissionError:
        raise CannotStartError(f"Port {port} is not ours to open; choose one above 1023 with --port.") from None
    except OSError:
        raise CannotStartError(f"Port {port} is taken by another program; choose another with --port.") from None


def _set_old_logs_aside(data: Path) -> None:
    logs, previous = data / "logs", data / "logs.previous"
    if logs.exists():
        shutil.rmtree(previous, ignore_errors=True)
        logs.rename(previous)
    for name in ("logs", "spans", "mail"):
        (data / name).mkdir(exist_ok=True)
