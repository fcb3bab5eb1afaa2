"""Processes of a stack are started together, started again when they die, and ended in order."""

import sys
import threading
from pathlib import Path

import pytest

from deploy.embedded.process import Child, StartFailedError
from deploy.supervisor import Member, Supervisor

_SLEEPER = (
    "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\nprint('up', flush=True)\ntime.sleep(60)"
)


def _member(tmp_path: Path, name: str, program: str = _SLEEPER) -> Member:
    child = Child(name=name, command=[sys.executable, "-c", program], log=tmp_path / f"{name}.log")
    return Member(child, lambda: child.tail() != "")


def test_it_says_which_process_did_not_come_up_and_why(tmp_path: Path) -> None:
    supervisor = Supervisor(lambda _: None)
    broken = _member(tmp_path, "broken", "import sys; sys.exit('MEDLED_DATABASE_URL is missing')")
    broken.ready = lambda: False
    with pytest.raises(StartFailedError, match=r"broken ended with status 1:\nMEDLED_DATABASE_URL is missing"):
        supervisor.start([_member(tmp_path, "fine"), broken], timeout=20)
    supervisor.stop()


def test_it_says_which_process_never_became_ready(tmp_path: Path) -> None:
    supervisor = Supervisor(lambda _: None)
    slow = _member(tmp_path, "slow")
    slow.ready = lambda: False
    with pytest.raises(StartFailedError, match="not ready after 0 s: slow"):
        supervisor.start([slow], timeout=0.3)
    supervisor.stop()
    assert not slow.child.running


def test_a_process_that_died_is_started_again_and_recovered(tmp_path: Path) -> None:
    said: list[str] = []
    recovered = threading.Event()
    supervisor = Supervisor(said.append)
    member = _member(tmp_path, "worker")
    member.recover = recovered.set
    member.delay = 0.1
    supervisor.start([member], timeout=20)
    first = member.child.pid
    member.child.kill()
    supervisor.watch(until=recovered.is_set)
    assert member.child.running
    assert member.child.pid != first
    assert member.delay == 0.2  # the next death waits longer
    assert any("worker ended with status -9" in line for line in said)
    supervisor.stop()
    assert not member.child.running


def test_what_others_stand_on_ends_last(tmp_path: Path) -> None:
    ended: list[str] = []
    program = "import signal, sys, time\nsignal.signal(15, lambda *_: (print(time.time(), flush=True), sys.exit(0)))\n"
    program += "print('up', flush=True)\ntime.sleep(60)"
    supervisor = Supervisor(ended.append)
    server, service = _member(tmp_path, "server", program), _member(tmp_path, "service", program)
    supervisor.start([server], timeout=20)
    supervisor.start([service], timeout=20)
    supervisor.stop()
    assert float(service.child.tail(1)) < float(server.child.tail(1))
