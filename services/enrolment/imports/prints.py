"""Fingerprints of what a file says of each person: a row that says what the last file said needs no second look.

Kept as numbers in sorted arrays, 21 bytes for each person known, not as objects, which take ten times as much.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from operator import itemgetter
from struct import Struct

from services.enrolment.imports.columns import Header
from services.enrolment.imports.rows import Row

SIZE = 16  # bytes of a print
_READING = 1  # another number when the same cells come to mean something else: all is looked at anew
_APART = "\x1f"  # in no cell that is read without a word
_HALVES = Struct(">QQ")


class Printer:
    """Tells the print of a record: of the cells that are read, whatever else the file has, and how they are read."""

    def __init__(self, header: Header, separator: str, statuses: Mapping[str, str]) -> None:
        names = [name for name in Row._fields if name in header.places]
        self._cells = itemgetter(*(header.places[name] for name in names))  # type: ignore[index] # more than one: required
        told = repr((_READING, names, separator, sorted(statuses.items())))
        self._key = blake2b(told.encode(), digest_size=SIZE).digest()

    def __call__(self, fields: Sequence[str]) -> bytes:
        text = _APART.join(self._cells(fields))
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=SIZE, key=self._key).digest()


class Prints:
    """Those of a source's people, sorted, each with the line of this file that says the same; 0 while none does."""

    def __init__(self, prints: bytes, has_own_id_as_login: bytes) -> None:
        halves = array("Q", prints)
        if sys.byteorder == "little":
            halves.byteswap()
        self._first, self._second = halves[::2], halves[1::2]
        self._own_id = has_own_id_as_login
        self._lines = array("I", bytes(4 * len(self._first)))
        self.seen = 0

    def take(self, print_: bytes, line: int) -> int | None:
        """Note that this line says what is known; which person it is about, or None when it says something else, or
        another line said the same before.
        """
        nth = self.find(print_)
        if nth is None or self._lines[nth]:
            return None
        self._lines[nth] = line
        self.seen += 1
        return nth

    def line_of(self, print_: bytes) -> int:
        """The line that says this; 0 when none does."""
        nth = self.find(print_)
        return 0 if nth is None else self._lines[nth]

    def has_own_id_as_login(self, nth: int) -> bool:
        """Whether that person signs in with the employee id."""
        return self._own_id[nth] == ord("y")

    def unseen(self) -> bytes:
        """The prints that no line of the file has, one after another."""
        pack, first, second = _HALVES.pack, self._first, self._second
        return b"".join(pack(first[nth], second[nth]) for nth, line in enumerate(self._lines) if not line)

    def find(self, print_: bytes) -> int | None:
        """Which person it is about, whether or not a line was noted; None when nobody's."""
        first, second = _HALVES.unpack(print_)
        nth = bisect_left(self._first, first)
        while nth < len(self._first) and self._first[nth] == first:
            if self._second[nth] == second:
                return nth
            nth += 1
        return None
