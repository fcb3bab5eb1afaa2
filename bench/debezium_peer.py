"""Debezium's engine as a peer: its jars by Maven, one process."""

import os
import shutil
import subprocess
from pathlib import Path

from bench.servers import Servers
from deploy.embedded.process import Child, StartFailedError

_HERE = Path(__file__).with_name("debezium")
_ROOT = Path(__file__).resolve().parents[1]
VERSION = "3.6.1.Final"


class DebeziumUnavailableError(StartFailedError):
    """Debezium cannot be run here; the message says why."""


def relay(servers: Servers, database: str) -> Child:
    """A process that publishes that database's outbox from now on; raises DebeziumUnavailableError."""
    return Child(
        name="debezium",
        command=[
            "java", "-Xmx512m", "-cp", str(_classes()) + os.pathsep + f"{_jars()}/*", "OutboxRelay",
            "127.0.0.1", str(servers.postgres.port), database, servers.kafka.bootstrap,
        ],
        log=servers.directory / f"debezium-{database}.log",
    )  # fmt: skip


def available() -> str | None:
    """None when Debezium can be measured, else why it cannot."""
    try:
        _classes()
    except DebeziumUnavailableError as missing:
        return str(missing)
    return None


def _cache() -> Path:
    cache = Path(os.environ.get("MEDLED_CACHE", _ROOT / ".cache")) / "debezium"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _jars() -> Path:
    lib = _cache() / "lib"
    if lib.exists():
        return lib
    fetched = _cache() / "lib.new"
    shutil.rmtree(fetched, ignore_errors=True)
    options = [f"-DoutputDirectory={fetched}", "-DincludeScope=runtime"]
    _run("mvn", "-q", "-B", "-f", str(_HERE / "pom.xml"), "dependency:copy-dependencies", *options)
    return fetched.rename(lib)


def _classes() -> Path:
    classes = _cache() / "classes"
    source = _HERE / "OutboxRelay.java"
    made = classes / "OutboxRelay.class"
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        _run("javac", "-d", str(classes), "-cp", f"{_jars()}/*", str(source))
    return classes


def _run(*command: str) -> None:
    if shutil.which(command[0]) is None:
        raise DebeziumUnavailableError(f"{command[0]} is not installed")
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise DebeziumUnavailableError(f"{command[0]} failed: {(ended.stdout + ended.stderr)[-500:]}")
