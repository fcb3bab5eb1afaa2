"""Apache Kafka itself, from its jars: one KRaft node on loopback, where the real broker's behaviour is the point."""

import base64
import fcntl
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.embedded.process import Child, StartFailedError, free_port
from deploy.embedded.server import Server

_ROOT = Path(__file__).resolve().parents[2]
_POM = _ROOT / "deploy" / "kafka" / "pom.xml"

QUICK = ("-Xmx512m", "-Xss512k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
AS_IN_PRODUCTION = (  # what docker-compose.yml starts its broker with: Kafka's image says the most of it
    "-Xms512m", "-Xmx512m", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent",
)  # fmt: skip


class KafkaUnavailableError(StartFailedError):
    """Apache Kafka cannot be run here; the message says what to install."""


class KafkaBroker(Server):
    """One Apache Kafka node, broker and controller in one; ready in about 4 s, its data kept in `directory`.

    Starting raises `KafkaUnavailableError` without Java or jars. Wiped, it is a new cluster. `settings` are the
    broker's, by its names, beside or instead of those here.
    """

    start_seconds = 60
    stop_seconds = 20

    def __init__(
        self, directory: Path, port: int | None = None, *, settings: Mapping[str, str | int] | None = None,
        java: Sequence[str] = QUICK,
    ) -> None:  # fmt: skip
        self._settings = settings or {}
        self._java = java
        self.directory = directory.resolve()
        self._data = self.directory / "data"
        self._properties = self.directory / "server.properties"
        self._controller_port = free_port()
        child = Child(name="kafka", command=[], log=self.directory / "kafka.log")
        super().__init__(child, port or free_port())

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _prepare(self) -> None:
        lib = jars()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(self._configuration())
        if not (self._data / "meta.properties").exists():
            self._format(lib)
        self.child.command = [*_java(lib, self._java), "kafka.Kafka", str(self._properties)]

    def _forget(self) -> None:
        shutil.rmtree(self._data)

    def _configuration(self) -> str:
        return f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{self._controller_port}
listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}
controller.listener.names=CONTROLLER
log.dirs={self._data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
num.network.threads=2
num.io.threads=4
""" + "".join(f"{name}={value}\n" for name, value in self._settings.items())

    def _format(self, lib: Path) -> None:
        """Copy a formatted directory under a cluster id of its own: formatting takes a JVM of its own, 3 s."""
        shutil.copytree(_formatted(lib), self._data)
        meta = self._data / "meta.properties"
        text = re.sub(r"(?m)^cluster\.id=.*$", f"cluster.id={_kafka_id()}", meta.read_text())
        meta.write_text(re.sub(r"(?m)^directory\.id=.*$", f"directory.id={_kafka_id()}", text))


def jars() -> Path:
    """The directory of Kafka's jars, fetched with Maven the first time; raises `KafkaUnavailableError`."""
    if shutil.which("java") is None:
        raise KafkaUnavailableError(
            "Apache Kafka needs Java 17 or newer: install a JRE (Debian: openjdk-17-jre-headless)"
        )
    with _cache() as cache:
        lib = cache / "lib"
        if lib.exists():
            return lib
        if shutil.which("mvn") is None:
            raise KafkaUnavailableError("Apache Kafka's jars come by Maven: install it (Debian: maven)")
        fetched = cache / "lib.new"
        shutil.rmtree(fetched, ignore_errors=True)
        result = subprocess.run(
            [
                *("mvn", "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies"),
                *(f"-DoutputDirectory={fetched}", "-DincludeScope=runtime"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise KafkaUnavailableError(f"Maven could not fetch Apache Kafka's jars:\n{result.stdout[-2000:]}")
        return fetched.rename(lib)


def _formatted(lib: Path) -> Path:
    with _cache() as cache:
        template = cache / "formatted"
        if (template / "meta.properties").exists():
            return template
        properties = cache / "format.properties"
        properties.write_text(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:1\n"
            f"listeners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1\nlog.dirs={template}\n"
            "controller.listener.names=CONTROLLER\n"
        )
        result = subprocess.run(
            [*_java(lib, QUICK), "kafka.tools.StorageTool", "format", "-t", _kafka_id(), "-c", str(properties)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise StartFailedError(f"Kafka's storage could not be formatted:\n{result.stderr[-2000:]}")
        return template


def _java(lib: Path, options: Sequence[str]) -> list[str]:
    return ["java", *options, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{lib}/*"]


def _kafka_id() -> str:
    """A UUID as Kafka writes it: 22 URL-safe base64 characters, none in front that looks like an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


@contextmanager
def _cache() -> Iterator[Path]:
    """The cache directory, held by one process at a time."""
    cache = Path(os.environ.get("MEDLED_CACHE", _ROOT / ".cache")) / "kafka"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache
