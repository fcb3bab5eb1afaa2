"""Further workers of a service beside those of a stack, of this version or of one that was released."""

import json
import sys
from pathlib import Path

from deploy.embedded.process import Child, free_port
from deploy.stack import Stack

THIS_CODE = Path(__file__).resolve().parents[2]


def another_worker(stack: Stack, service: str, folder: Path, name: str, code: Path = THIS_CODE) -> Child:
    """One more worker of this service, not started; its log goes to `folder`."""
    environment = {**stack.environment_for(service), "MEDLED_PORT": str(free_port())}
    return Child(
        name=f"{service}-{name}", command=[sys.executable, "-m", f"services.{service}", "worker"],
        log=folder / f"{service}-{name}.log",
        environment={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(code), **environment}, directory=code,
    )  # fmt: skip


def events_of(worker: Child, event: str) -> list[dict[str, object]]:
    """What its log says of this."""
    if not worker.log.exists():
        return []
    lines = [line for line in worker.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    return [told for told in map(json.loads, lines) if told["event"] == event]


def had_a_share(worker: Child) -> bool:
    """Whether it has ever been given partitions."""
    return any(told["partitions"] for told in events_of(worker, "partitions assigned"))
