"""The command line in tests, over a stack that is described as `medled up` would."""

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from typer.testing import CliRunner, Result

from deploy.cli import app
from deploy.stack import Stack, write_stack


def describe_stack(data: Path, databases: Mapping[str, str], bootstrap: str = "127.0.0.1:1") -> Stack:
    """Make commands with `--data` find these servers."""
    origin = "http://127.0.0.1:8080"
    environment = {
        "MEDLED_ENVIRONMENT": "development", "MEDLED_PUBLIC_URL": origin, "MEDLED_OIDC_ISSUER": f"{origin}/issuer",
        "MEDLED_KAFKA_BOOTSTRAP": bootstrap, "MEDLED_KAFKA_TRANSACTIONS": "false",
        "MEDLED_SESSION_SECRET": "only-for-tests-only-for-tests-only-for-tests",
        "MEDLED_CLOCK_FILE": str(data / "clock"),
    }  # fmt: skip
    stack = Stack(
        pid=os.getpid(), started_at=datetime.now(UTC), data=data, public_url=origin, oidc_issuer=f"{origin}/issuer",
        kafka_bootstrap=bootstrap, kafka_transactions=False, databases=databases, ports={}, pids={},
        environment=environment,
    )  # fmt: skip
    write_stack(stack)
    return stack


async def medled(data: Path, *arguments: object) -> Result:
    """Run a command to its end, in a thread, since it runs a loop of its own."""
    words = [*map(str, arguments), "--data", str(data)]
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, words))
