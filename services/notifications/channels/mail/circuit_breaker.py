"""The circuit breaker before a mail server: while it is open, no message costs an attempt."""

import random
import time

_LONGEST_SECONDS = 60.0


class CircuitBreaker:
    """Opens for 1, 2, 4 ... up to 60 seconds while the server is away; then lets one message try.

    Several connections that fail together count once: whoever finds it open changes nothing.
    """

    def __init__(self, first_seconds: float = 1.0) -> None:
        self._first = first_seconds
        self._failures = 0
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether nothing may be tried right now."""
        return time.monotonic() < self._open_until

    @property
    def is_half_open(self) -> bool:
        """Whether the server has not proved itself since it failed."""
        return self._failures > 0

    def record_failure(self) -> bool:
        """The server failed. Returns whether this opened the circuit."""
        if self.is_open:
            return False
        seconds = min(_LONGEST_SECONDS, self._first * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._open_until = time.monotonic() + seconds * random.uniform(0.75, 1)
        return True

    def record_success(self) -> bool:
        """The server took a mail, or refused one properly. Returns whether that ends an outage."""
        ended, self._failures = self._failures > 0, 0
        return ended

    @property
    def seconds_left(self) -> float:
        """How long nothing may be tried."""
        return max(0.0, self._open_until - time.monotonic())
