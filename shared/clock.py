"""Time as a dependency: business rules take `now` from here and nowhere else."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DEFAULT_ZONE = "Europe/Stockholm"
_REREAD_SECONDS = 0.1


@dataclass(slots=True)
class Clock:
    """The current time, UTC and aware; shifted by the seconds that `offset_file` holds, for demo and tests.

    All processes of a stack read the same file, so that a month can pass for everybody at once. `Settings` refuses the
    file in production.
    """

    offset_file: Path | None = None
    _offset: timedelta = field(default=timedelta(0), init=False)
    _read_at: float = field(default=-1.0, init=False)

    def now(self) -> datetime:
        """The time that business rules go by."""
        return datetime.now(UTC) + self._shift()

    def _shift(self) -> timedelta:
        if self.offset_file is None:
            return timedelta(0)
        moment = time.monotonic()
        if moment - self._read_at >= _REREAD_SECONDS or self._read_at < 0:
            self._read_at = moment
            self._offset = _read(self.offset_file, self._offset)
        return self._offset


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name; the default one for a name that nobody knows."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo(DEFAULT_ZONE)


def end_of_day(moment: datetime, time_zone: str) -> datetime:
    """The last second of the day that `moment` falls on in a time zone, in UTC: what people mean by "by 17 March"."""
    return moment.astimezone(zone(time_zone)).replace(hour=23, minute=59, second=59, microsecond=0).astimezone(UTC)


def _read(path: Path, before: timedelta) -> timedelta:
    try:
        return timedelta(seconds=float(path.read_text() or 0))
    except FileNotFoundError:
        return timedelta(0)
    except ValueError:  # caught in the middle of being written: the next look gets it whole
        return before
