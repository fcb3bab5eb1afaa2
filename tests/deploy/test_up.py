"""`medled up` as people use it: the real stack in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.embedded.process import free_port
from deploy.local import CannotStartError, Options, running
from deploy.services import SERVICES
from deploy.stack import Stack, find_stack

pytestmark = pytest.mark.timeout(180)
_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def _up(data: Path) -> Iterator[tuple[subprocess.Popen[str], Stack]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDLED_")}
    with (data.parent / f"{data.name}.err").open("a+") as progress:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", "up", "--data", str(data), "--port", str(free_port()), "--json"],
            stdout=subprocess.PIPE,
            stderr=progress,
            text=True,
            cwd=_ROOT,
            env={**environment, "PYTHONPATH": str(_ROOT)},
        )
        with process:
            try:
                assert process.stdout is not None
                text = ""
                while not text.endswith("}\n"):
                    line = process.stdout.readline()
                    if not line:
                        progress.seek(0)
                        pytest.fail(progress.read())
                    text += line
                said, stack = json.loads(text), find_stack(data)
                assert said["pid"] == process.pid
                assert said["kafka_bootstrap"] == stack.kafka_bootstrap
                yield process, stack
            finally:
                process.kill()


def _left_over(family: list[psutil.Process], seconds: float = 15) -> list[psutil.Process]:
    deadline = time.monotonic() + seconds
    while (alive := [p for p in family if _alive(p)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_secrets_reach_only_who_needs_them(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with _up(data) as (process, stack):
        names = {pid: name for name, pid in stack.pids.items()}
        told = {
            names.get(child.pid, "another"): " ".join(child.environ().values())
            for child in psutil.Process(process.pid).children(recursive=True)
        }
        secrets = json.loads((data / "secrets.json").read_text())

    def holders(secret: str) -> set[str]:
        return {name for name, environment in told.items() if secrets[secret] in environment}

    assert told.keys() >= set(names.values())
    assert holders("ballot") == {"feedback-worker"}
    assert holders("link") == {"feedback-worker", "notifications-worker"}
    assert {name: secrets["link"] in stack.environment_for(name).values() for name in SERVICES} == {
        "enrolment": False, "feedback": True, "notifications": True, "portal": False,
    }  # fmt: skip
    for service in SERVICES:
        assert holders(service) == {f"{service}-api", f"{service}-worker"}


def test_ctrl_c_and_kill_leave_no_process_and_a_second_start_reuses_the_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with _up(data) as (process, stack):
        assert httpx.get(f"{stack.public_url}/health/ready").status_code == 200
        checked = subprocess.run(
            [sys.executable, "-m", "deploy.cli", "doctor", "--data", str(data), "--json"],
            cwd=_ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert [f for f in json.loads(checked.stdout) if f["state"] == "bad"] == []
        secrets = (data / "secrets.json").read_text()
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) > len(stack.pids)  # Postgres has children of its own
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert _left_over(family, 1) == []
    assert not (data / "stack.json").exists()
    assert "days ahead" not in (tmp_path / "data.err").read_text()

    bootstrap = stack.kafka_bootstrap
    (data / "clock").write_text(str(3.5 * 86400))
    with _up(data) as (process, stack):
        assert stack.kafka_bootstrap == bootstrap, "consumers find the broker where it was"
        assert "The clock of this data runs 3.5 days ahead" in (tmp_path / "data.err").read_text()
        assert (data / "secrets.json").read_text() == secrets
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        assert _left_over(family) == []

    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(bootstrap.rpartition(":")[2])))
        other.listen()
        _after_a_kill(data, bootstrap)


def _after_a_kill(data: Path, bootstrap: str) -> None:
    progress = data.with_name(f"{data.name}.err")
    with _up(data) as (process, stack):
        assert stack.kafka_bootstrap != bootstrap
        assert f"is taken; it is at {stack.kafka_bootstrap} from now on" in progress.read_text()
        worker = psutil.Process(stack.pids["enrolment-worker"])
        worker.kill()
        deadline = time.monotonic() + 30
        while "enrolment-worker runs again" not in progress.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "enrolment-worker ended with status -9" in progress.read_text()
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(30) == 0
        assert _left_over(family, 1) == []


def test_a_data_directory_or_an_address_that_cannot_be_used_is_told_in_a_sentence(tmp_path: Path) -> None:
    for options in (
        Options(Path("/proc/medled"), port=free_port()),
        Options(tmp_path, port=free_port(), database="no address"),
    ):
        with pytest.raises(CannotStartError), running(options, lambda _: None):
            pass
