"""`medled demo` as people use it: played, played again, interrupted, killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.demo.record import Record
from deploy.embedded.process import free_port

pytestmark = pytest.mark.timeout(300)
_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_SECONDS = 150


class _Demo:
    """A running `medled demo`; `text` is what it has said so far, `family` every process it ever had."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.family: set[psutil.Process] = set()
        self._output = output

    @property
    def text(self) -> str:
        return self._output.read_text()

    def wait_for(self, words: str) -> None:
        """Return when it has said so."""
        self._watch(lambda: words in self.text, f"said {words!r}")

    def end(self) -> int:
        """Its exit status."""
        self._watch(lambda: self.process.poll() is not None, "ended")
        return self.process.wait()

    def left_over(self, seconds: float = 15) -> list[psutil.Process]:
        """Processes of it that still run after a while."""
        deadline = time.monotonic() + seconds
        while (alive := [each for each in self.family if _alive(each)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return alive

    def _watch(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not is_so():
            if self.process.poll() is None:
                self.family |= set(psutil.Process(self.process.pid).children(recursive=True))
            elif what != "ended":
                break
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        if not is_so():
            pytest.fail(f"It never {what}:\n{self.text}")


@contextmanager
def _demo(data: Path, *options: str) -> Iterator[_Demo]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDLED_")}
    output = data.parent / f"{data.name}-{time.monotonic_ns()}.txt"
    with output.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", "demo", "--data", str(data), *options],
            stdout=out, stderr=subprocess.STDOUT, cwd=_ROOT,
            env={**environment, "PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    try:
        yield _Demo(process, output)
    finally:
        process.kill()
        process.wait()


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _verified(text: str) -> int:
    """Number of events of a verification that was clean."""
    found = re.search(r"medled verify: clean; (\d+) events, 0 lost, 0 doubled", text)
    assert found, text
    return int(found[1])


def test_a_programme_is_played_and_ties_up_and_a_second_start_reuses_it(tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    with _demo(data, "--once", "--port", str(port)) as first:
        assert first.end() == 0, first.text
        assert first.left_over() == []
        assert "differs" not in first.text
        events = _verified(first.text)
    played = Record.load(data)
    assert len(played.scenes) == 10

    with _demo(data, "--port", str(port)) as second:
        second.wait_for("Ctrl-C ends everything.")
        assert "it is kept as it is" in second.text
        assert "differs" not in second.text
        assert _verified(second.text) == events  # the broker forgot them all; the relays brought them back
        assert Record.load(data) == played
        invitation = re.search(r"The invitation to (.+), to answer about Amina Hussein: (http\S+)", second.text)
        assert invitation is not None
        assert invitation[1] != "Amina Hussein"
        form = httpx.get(f"{invitation[2]}?lang=en", trust_env=False)
        assert "Nobody sees your answers" in form.text, "the promise made to peers, not to oneself"
        page = httpx.get(f"http://127.0.0.1:{port}/login", follow_redirects=True, trust_env=False)
        assert page.text.index("Amina Hussein") < page.text.index("Abdi Norberg")
        second.process.kill()
        assert second.left_over() == []


def test_an_interrupted_demo_leaves_no_process_and_goes_on_where_it_was(tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    with _demo(data, "--port", str(port)) as first:
        first.wait_for("People ask for a place")
        first.process.send_signal(signal.SIGINT)
        assert first.end() == 130, first.text
        assert first.left_over(1) == []
    assert "people" in Record.load(data).scenes

    with _demo(data, "--once", "--port", str(port)) as second:
        assert second.end() == 0, second.text
        assert "it goes on where it was" in second.text
        assert "People arrive" not in second.text
        _verified(second.text)
        assert second.left_over(1) == []


def test_a_taken_port_is_said_plainly(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with _demo(tmp_path / "data", "--once", "--port", str(port)) as demo:
            assert demo.end() == 1
            assert f"Port {port} is taken by another program" in demo.text
            assert demo.left_over(1) == []
