"""One child process that can be started, stopped, killed, frozen and thawed, and that dies with its parent."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from random import SystemRandom

import psutil

_LAUNCH = Path(__file__).with_name("launch.py")
_POLL_SECONDS = 0.02
_CHANCE = SystemRandom()  # tests that run side by side seed the other one alike


class StartFailedError(RuntimeError):
    """A server did not become ready; the message ends with the last lines of its log."""


@dataclass
class Child:
    """A program started from this process.

    Start it from a thread that lives as long as the program should (the main thread): Linux ends the child when the
    thread that started it ends. On systems other than Linux a `kill -9` of the parent leaves the child running.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] | None = None
    directory: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL  # what the kernel sends when the parent is gone
    unprivileged: bool = False
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the program; its output is appended to the log. Does nothing when it runs already."""
        if self.running:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        options = ["--parent", str(os.getpid()), "--signal", str(int(self.death_signal))]
        if self.unprivileged:
            options.append("--unprivileged")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCH), *options, "--", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.environment) if self.environment is not None else None,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then stops its children in order
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal; None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process.pid

    def signal_stop(self) -> None:
        """Ask it to end, without waiting."""
        if self.running:
            self.thaw()
            self._send(self.stop_signal)

    def stop(self, grace: float = 10) -> None:
        """Ask it to end and wait `grace` seconds; then kill it."""
        self.signal_stop()
        if not self._wait(grace):
            self.kill()

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._wait(10)

    def freeze(self) -> None:
        """SIGSTOP it and all it started: it holds its connections and says nothing."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):  # a child of its own may end at any moment
                process.suspend()

    def thaw(self) -> None:
        """SIGCONT what was frozen."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _wait(self, seconds: float) -> bool:
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _family(self) -> list[psutil.Process]:
        if not self.running:
            return []
        try:
            process = psutil.Process(self.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def package_directory(package: str) -> Path:
    """Where an installed package lies, without importing it: some do work and warn when imported."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise StartFailedError(f"the package {package} is not installed; install medled[embedded]")
    return Path(spec.origin).parent


def free_port() -> int:
    """A TCP port on loopback that nobody listens on at this moment.

    Below those that systems give to outgoing connections: one of them could have taken it until a server binds it.
    """
    while True:
        port = _CHANCE.randrange(15_000, 32_000)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def listens(port: int) -> bool:
    """Whether something accepts connections on this loopback port."""
    with socket.socket() as client:
        client.settimeout(0.5)
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_until_listening(child: Child, port: int, timeout: float) -> None:
    """Return when the child accepts connections on the port.

    Raises `StartFailedError` when it ended or stayed silent for `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while child.running and time.monotonic() < deadline:
        if listens(port):
            return
        time.sleep(_POLL_SECONDS)
    why = "did not listen in time" if child.running else f"ended with status {child.returncode}"
    raise StartFailedError(f"{child.name} {why}; its log {child.log} ends with:\n{child.tail()}")
