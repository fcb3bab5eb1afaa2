"""What the servers of the embedded stack have in common: a child that listens on a port of loopback."""

from typing import ClassVar

from deploy.embedded.process import Child, wait_until_listening


class Server:
    """A server that can be started, stopped, killed, frozen, thawed and wiped, always on the same port."""

    start_seconds: ClassVar[float]
    stop_seconds: ClassVar[float]  # then it is killed

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self.port = port

    def start(self) -> None:
        """Start it, with fresh data if it has none, and return when it accepts clients; raises `StartFailedError`."""
        self._prepare()
        self._start_child()

    def stop(self) -> None:
        """Stop it in order."""
        self.child.stop(grace=self.stop_seconds)

    def kill(self) -> None:
        """`kill -9`; what it started itself notices and ends."""
        self.child.kill()

    def freeze(self) -> None:
        """It holds its connections and says nothing."""
        self.child.freeze()

    def thaw(self) -> None:
        self.child.thaw()

    def wipe(self) -> None:
        """Lose all data and start anew."""
        self.kill()
        self._forget()
        self.start()

    def _prepare(self) -> None:
        """Make what must be there before it starts."""

    def _forget(self) -> None:
        """Remove the data of a server that keeps any."""

    def _start_child(self) -> None:
        self.child.start()
        wait_until_listening(self.child, self.port, self.start_seconds)
