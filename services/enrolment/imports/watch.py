"""What may end an import on its way: somebody's wish, or the time it has. Looked at between chunks, also by threads."""

import time
from dataclasses import dataclass
from datetime import timedelta


class ImportCancelledError(Exception):
    """Somebody asked to end the import; nothing of it is kept."""


class ImportTooSlowError(Exception):
    """Reading and checking the file took longer than it may."""


@dataclass(slots=True)
class Watch:
    """Is told that the import must end, and tells whoever looks. Time runs from `start` to `stop`."""

    limit: timedelta
    is_cancelled: bool = False
    _until: float | None = None

    def start(self) -> None:
        self._until = time.monotonic() + self.limit.total_seconds()

    def stop(self) -> None:
        """From here on no time limit holds: what is left is bounded otherwise."""
        self._until = None

    def look(self) -> None:
        """Raises ImportCancelledError or ImportTooSlowError when the import must not go on."""
        if self.is_cancelled:
            raise ImportCancelledError
        if self._until is not None and time.monotonic() > self._until:
            raise ImportTooSlowError
