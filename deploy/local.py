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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.process import Child, free_port
from deploy.embedded.tansu import TansuBroker
from deploy.provision import create_databases, migrate_all
from deploy.stack import SERVICES, Ports, Stack, write_private, write_stack
from deploy.supervisor import Member, Supervisor, answers_on, healthy_on
from shared.topics import ensure_topics

_ROOT = Path(__file__).resolve().parents[1]
_SERVER_SECONDS, _SERVICE_SECONDS = 30, 60
_SECRETS = ("session", "link", "ballot", "postgres", *SERVICES)


class CannotStart(RuntimeError):
    """The stack cannot start here and now; the message says why and what to do, in a sentence."""


@dataclass(frozen=True)
class Options:
    """What a person may choose. `broker` and `database` name real servers to use instead of the embedded ones."""

    data: Path
    port: int = 8080
    broker: str | None = None
    database: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)  # further settings for every service

    @property
    def public_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def issuer(self) -> str:
        return f"{self.public_url}/issuer"


@contextmanager
def running(options: Options, say: Callable[[str], None]) -> Iterator[tuple[Stack, Supervisor]]:
    """The stack, started and ready; ended when the block ends. Call it from the main thread.

    Raises `CannotStart`, `StartFailed` (a process did not come up) or `MigrationFailed`.
    """
    options.data.mkdir(parents=True, exist_ok=True, mode=0o700)  # people's mail and data lie here
    with _only_one(options), contextlib.ExitStack() as cleanup:
        _refuse_taken_port(options.port)
        _set_old_logs_aside(options.data)
        supervisor = Supervisor(say)
        cleanup.callback(supervisor.stop)
        stack = _start(options, supervisor, say)
        cleanup.callback((options.data / "stack.json").unlink, missing_ok=True)
        yield stack, supervisor


def _start(options: Options, supervisor: Supervisor, say: Callable[[str], None]) -> Stack:
    keys = _keys(options.data)
    ports = {service: Ports(api=free_port(), worker=free_port()) for service in SERVICES}
    ports["portal"] = Ports(api=options.port, worker=free_port())
    smtp_port, issuer_port = free_port(), free_port()
    common = {
        "MEDLED_ENVIRONMENT": "development",
        "MEDLED_PUBLIC_URL": options.public_url,
        "MEDLED_OIDC_ISSUER": options.issuer,
        "MEDLED_CLOCK_FILE": str(options.data / "clock"),
    }

    postgres = _postgres(options, keys["postgres"])
    broker = _broker(options)
    bootstrap = options.broker or (broker.bootstrap if broker else "")
    sink = _program("mail-sink", ["deploy.mailsink"], options, common | _mail_sink(options, smtp_port))
    issuer = _program("issuer", ["deploy.issuer"], options, common | {"MEDLED_PORT": str(issuer_port)})
    servers = [Member(sink, answers_on(smtp_port)), Member(issuer, answers_on(issuer_port))]
    if postgres:
        servers.insert(0, Member(postgres.child, lambda: True, start=postgres.start))
    if broker:
        topics = _topics_on(bootstrap)
        servers.insert(0, Member(broker.child, lambda: True, start=broker.start, recover=topics))
    supervisor.start(servers, _SERVER_SECONDS)

    admin = options.database or (postgres.dsn() if postgres else "")
    databases = asyncio.run(create_databases(admin, {service: keys[service] for service in SERVICES}))
    migrate_all(databases)
    say("databases are migrated")
    _topics_on(bootstrap)()
    say("topics are there")

    settings = {
        **common,
        "MEDLED_KAFKA_BOOTSTRAP": bootstrap,
        "MEDLED_KAFKA_TRANSACTIONS": "false" if broker else "true",
        "MEDLED_SESSION_SECRET": keys["session"],
        "MEDLED_LINK_SECRET": keys["link"],
        "MEDLED_BALLOT_SECRET": keys["ballot"],
        "MEDLED_SMTP_HOST": "127.0.0.1",
        "MEDLED_SMTP_PORT": str(smtp_port),
        "MEDLED_SMTP_SECURITY": "none",
        "MEDLED_MAIL_SENDER": "medled@localhost.localdomain",
        "MEDLED_UPSTREAMS": json.dumps(_upstreams(ports, issuer_port)),
        **options.environment,
    }
    supervisor.start(
        [
            Member(_service(service, role, port, databases[service], settings, options), healthy_on(port))
            for service in SERVICES
            for role, port in (("api", ports[service].api), ("worker", ports[service].worker))
        ],
        _SERVICE_SECONDS,
    )
    stack = Stack(
        pid=os.getpid(),
        started_at=datetime.now(UTC),
        data=options.data,
        public_url=options.public_url,
        oidc_issuer=options.issuer,
        kafka_bootstrap=bootstrap,
        kafka_transactions=broker is None,
        databases=databases,
        ports=ports,
        pids=supervisor.pids(),
        environment=settings,
    )
    write_stack(stack)
    return stack


def _postgres(options: Options, password: str) -> EmbeddedPostgres | None:
    if options.database:
        return None
    return EmbeddedPostgres(options.data / "postgres", password=password, log=options.data / "logs" / "postgres.log")


def _broker(options: Options) -> TansuBroker | None:
    """It forgets when it ends; the relays notice and publish what the databases keep again."""
    return None if options.broker else TansuBroker(options.data, log=options.data / "logs" / "broker.log")


def _topics_on(bootstrap: str) -> Callable[[], None]:
    def ensure() -> None:
        asyncio.run(ensure_topics(bootstrap))

    return ensure


def _mail_sink(options: Options, port: int) -> dict[str, str]:
    return {"MEDLED_PORT": str(port), "MEDLED_MAIL_DIR": str(options.data / "mail")}


def _upstreams(ports: Mapping[str, Ports], issuer_port: int) -> dict[str, str]:
    """What the portal passes on under its own origin."""
    services = {service: f"http://127.0.0.1:{ports[service].api}" for service in SERVICES if service != "portal"}
    return {**services, "issuer": f"http://127.0.0.1:{issuer_port}"}


def _service(service: str, role: str, port: int, database: str, settings: Mapping[str, str], options: Options) -> Child:
    """The one place where a service process gets its environment."""
    environment = {
        **settings,
        "MEDLED_DATABASE_URL": database,
        "MEDLED_PORT": str(port),
        "MEDLED_SPAN_FILE": str(options.data / "spans" / f"{service}-{role}.jsonl"),
    }
    if not (service == "feedback" and role == "worker"):
        environment.pop("MEDLED_BALLOT_SECRET", None)  # nobody else can open a ballot
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
            raise CannotStart(
                f"Medled runs on {options.data} already ({lock.read().strip() or 'just starting'}); "
                "stop that one, or choose another directory with --data."
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, {options.public_url}")
        lock.flush()
        yield lock


def _refuse_taken_port(port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except PermissionError:
            raise CannotStart(f"Port {port} is not ours to open; choose one above 1023 with --port.") from None
        except OSError:
            raise CannotStart(f"Port {port} is taken by another program; choose another with --port.") from None


def _set_old_logs_aside(data: Path) -> None:
    logs, previous = data / "logs", data / "logs.previous"
    if logs.exists():
        shutil.rmtree(previous, ignore_errors=True)
        logs.rename(previous)
    for name in ("logs", "spans", "mail"):
        (data / name).mkdir(exist_ok=True)
