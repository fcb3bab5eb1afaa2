"""Starts the members of a stack, waits for them, starts again what died, and ends them all in order."""

import http.client
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from deploy.embedded.process import Child, StartFailedError, listens

_POLL_SECONDS = 0.1
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 30.0
_STABLE_SECONDS = 60.0


@dataclass
class Member:
    """One process of the stack. `start` may wait; `ready` answers at once; `recover` runs after a second start."""

    child: Child
    ready: Callable[[], bool]
    start: Callable[[], None] | None = None
    recover: Callable[[], None] | None = None
    started_at: float = field(default=0.0, init=False)
    delay: float = field(default=_FIRST_DELAY, init=False)
    retry_at: float | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        return self.child.name

    def begin(self) -> None:
        """Start the process, without waiting unless `start` does."""
        self.started_at = time.monotonic()
        (self.start or self.child.start)()


class Supervisor:
    """Members in the order they were started. `say` gets one plain line for everything a person should know."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._waves: list[Sequence[Member]] = []

    @property
    def _members(self) -> list[Member]:
        return [member for wave in self._waves for member in wave]

    def start(self, members: Sequence[Member], timeout: float) -> None:
        """Start these together and return when all are ready; raises `StartFailedError` for the first that is not."""
        began = time.monotonic()
        self._waves.append(members)
        for member in members:
            member.begin()
        waiting = list(members)
        while waiting:
            for member in list(waiting):
                if not member.child.running:
                    raise StartFailedError(
                        f"{member.name} ended with status {member.child.returncode}:\n{_why(member)}"
                    )
                if member.ready():
                    waiting.remove(member)
                    self._say(f"{member.name} is ready ({time.monotonic() - began:.1f} s)")
            if waiting and time.monotonic() - began > timeout:
                names = ", ".join(member.name for member in waiting)
                raise StartFailedError(f"not ready after {timeout:.0f} s: {names}; the first says:\n{_why(waiting[0])}")
            time.sleep(_POLL_SECONDS)

    def watch(self, until: Callable[[], bool] = lambda: False) -> None:
        """Start again whatever ends, until told or interrupted."""
        while not until():
            for member in self._members:
                if member.child.running:
                    if time.monotonic() - member.started_at > _STABLE_SECONDS:
                        member.delay = _FIRST_DELAY
                elif member.retry_at is None:
                    self._say(
                        f"{member.name} ended with status {member.child.returncode} (see {member.child.log}); "
                        f"starting it again in {member.delay:.0f} s"
                    )
                    member.retry_at = time.monotonic() + member.delay
                    member.delay = min(member.delay * 2, _LONGEST_DELAY)
                elif time.monotonic() >= member.retry_at:
                    self._restart(member)
            time.sleep(_POLL_SECONDS)

    def stop(self, grace: float = 10) -> None:
        """End all, the last started first; those started together end together. A second Ctrl-C kills the rest."""
        try:
            for wave in reversed(self._waves):
                for member in wave:
                    member.child.signal_stop()
                for member in wave:
                    member.child.stop(grace)
        except KeyboardInterrupt:
            for member in self._members:
                member.child.kill()

    def pids(self) -> dict[str, int]:
        """The process id of every member by name."""
        return {member.name: member.child.pid for member in self._members if member.child.running}

    def _restart(self, member: Member) -> None:
        member.retry_at = None
        try:
            member.begin()
            if member.recover is not None:
                member.recover()
        except (RuntimeError, OSError) as error:  # what starting and recovering raise
            self._say(f"{member.name} did not start: {error}")
        else:
            self._say(f"{member.name} runs again")


def answers_on(port: int) -> Callable[[], bool]:
    """A readiness check: something accepts connections there."""
    return lambda: listens(port)


def healthy_on(port: int) -> Callable[[], bool]:
    """A readiness check: GET /health/ready answers 200."""

    def check() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return check


def _why(member: Member) -> str:
    return f"{member.child.tail(20)}\n(its log: {member.child.log})"
