"""Slots of the stream: how many read it in this process, and how many of those are one reader's."""

from collections import Counter


class NoSlotError(Exception):
    """This process serves as many streams as it may."""


class NoSlotForReaderError(Exception):
    """One reader has as many streams as one may; `most` says how many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most


class Slot:
    """One stream's, until it is left; leaving it twice is leaving it once."""

    def __init__(self, slots: "Slots", who: str) -> None:
        self._slots = slots
        self._who: str | None = who

    def leave(self) -> None:
        """Let another stream have it."""
        if self._who is not None:
            self._slots.free(self._who)
            self._who = None


class Slots:
    """A stream counts from its request on, not from its first byte: a thousand at once are not all the last one."""

    def __init__(self, most: int, most_each: int) -> None:
        self._most, self._most_each = most, most_each
        self._taken: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._taken.total()

    def take(self, who: str) -> Slot:
        """A slot for a principal. Raises NoSlotForReaderError or NoSlotError."""
        if self._taken.get(who, 0) >= self._most_each:
            raise NoSlotForReaderError(self._most_each)
        if len(self) >= self._most:
            raise NoSlotError
        self._taken[who] += 1
        return Slot(self, who)

    def free(self, who: str) -> None:
        """Called by the slot."""
        self._taken[who] -= 1
        if not self._taken[who]:
            del self._taken[who]
