"""The gate between the queue and a mail server that is away: shut, it costs no message an attempt."""

import random
import time

_LONGEST_SECONDS = 60.0


class Gate:
    """Shuts for 1, 2, 4 ... up to 60 seconds while the server is away; then lets one message try.

    Several connections that fail together count once: whoever finds the gate shut changes nothing.
    """

    def __init__(self, first_seconds: float = 1.0) -> None:
        self._first = first_seconds
        self._failures = 0
        self._shut_until = 0.0

    @property
    def shut(self) -> bool:
        """Whether nothing may be tried right now."""
        return time.monotonic() < self._shut_until

    @property
    def probing(self) -> bool:
        """Whether the server has not proved itself since it failed."""
        return self._failures > 0

    def trip(self) -> bool:
        """The server failed. Returns whether this shut the gate."""
        if self.shut:
            return False
        seconds = min(_LONGEST_SECONDS, self._first * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._shut_until = time.monotonic() + seconds * random.uniform(0.75, 1)
        return True

    def passed(self) -> bool:
        """The server took a mail, or refused one properly. Returns whether that ends an outage."""
        ended, self._failures = self._failures > 0, 0
        return ended

    @property
    def seconds_left(self) -> float:
        """How long nothing may be tried."""
        return max(0.0, self._shut_until - time.monotonic())
