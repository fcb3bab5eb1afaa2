"""From lines to records, one bad line costing only itself.

An unclosed quote makes a plain CSV reader swallow every line up to the next quote, and the people on those lines would
look as if they had left. So a record that spans several lines must come out whole, or only its first line is given up.
"""

import csv
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from services.enrolment.imports.columns import Header, complain_about, read_header
from services.enrolment.imports.mapping import MappingFile
from services.enrolment.imports.refusal import FileRefusedError
from services.enrolment.imports.sentences import Sentence

_DELIMITERS = (",", ";", "\t", "|")
_LONGEST_HEADER = 100_000  # characters; a csv.reader gives up on a longer value
_MOST_COLUMNS = 2_000
_LONGEST_RECORD = 50  # physical lines; a quoted title with line breaks has two or three
_MOST_CHARACTERS = 200_000  # of a record: twenty million commas are as many values, and each takes memory
_AT_A_TIME = 500  # lines, of no more than so many characters:
_MOST_AT_A_TIME = 500_000


class Record(NamedTuple):
    """One record: the line it begins on (the first of the file is 1), its fields, and what is wrong with its shape."""

    line: int
    fields: list[str]
    fault: Sentence | None = None


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file with a header understood and its records still unread."""

    header: Header
    delimiter: str
    lines: list[str]
    first: int

    def records(self, look: Callable[[], None] = lambda: None) -> Iterator[Record]:
        """Every record after the header, in order, once; blank ones are left out. `look` may raise to end it.

        Lines are let go as they are read: an export and all its rows need not lie in memory together.
        """
        feed, width = _Feed(self.lines, self.first), self.header.width
        while (start := feed.position) < len(self.lines):
            look()
            found = _plain(feed, self.delimiter, width)
            while found is None and feed.position < start + _AT_A_TIME and feed.position < len(self.lines):
                look()
                first = feed.position
                record = _whole(feed, self.delimiter, width) or _single(feed, first, self.delimiter, width)
                if record.fault or any(field.strip() for field in record.fields):
                    yield record
            self.lines[start : feed.position] = [""] * (feed.position - start)
            yield from found or ()


class _Feed:
    """Lines for a csv.reader, from a place that can be set back, and never more than one record may have."""

    __slots__ = ("left", "lines", "position", "stop")

    def __init__(self, lines: list[str], position: int) -> None:
        self.lines, self.position, self.stop, self.left = lines, position, 0, 0

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        if self.position >= self.stop or self.position >= len(self.lines):
            raise StopIteration
        self.position += 1
        line = self.lines[self.position - 1]
        self.left -= len(line)
        if self.left < 0:
            raise csv.Error
        return line


def _plain(feed: _Feed, delimiter: str, width: int) -> list[Record] | None:
    """The next lines at once, if each is a whole record, as nearly all are; None, and none taken, if not."""
    start = feed.position
    lines = feed.lines[start : start + _AT_A_TIME]
    lengths = list(map(len, lines))
    if max(lengths) > _MOST_CHARACTERS or sum(lengths) > _MOST_AT_A_TIME:
        return None
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    if len(rows) != len(lines):
        return None
    if set(map(len, rows)) != {width} and any(len(_trimmed(fields, width)) != width for fields in rows):
        return None
    feed.position += len(lines)
    return [
        Record(line, fields)
        for line, fields in enumerate(rows, start + 1)
        if fields[0].strip() or any(map(str.strip, fields))
    ]


def _trimmed(fields: list[str], width: int) -> list[str]:
    """Without the empty cells beyond the header, which spreadsheets end rows with: they say nothing."""
    while len(fields) > width and not fields[-1].strip():
        fields.pop()
    return fields


def _whole(feed: _Feed, delimiter: str, width: int) -> Record | None:
    start = feed.position
    feed.stop, feed.left = start + _LONGEST_RECORD, _MOST_CHARACTERS
    try:
        fields = next(csv.reader(feed, delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    if not _trimmed(fields, width) or len(fields) == width:
        return Record(start + 1, fields)
    return None


def _single(feed: _Feed, start: int, delimiter: str, width: int) -> Record:
    feed.position = start + 1
    line = feed.lines[start]
    fields = next(csv.reader([line[:100_000].rstrip("\r\n")], delimiter=delimiter), [])
    if len(fields) == width:
        return Record(start + 1, fields, Sentence("bad_row.quote"))
    if not any(field.strip() for field in fields):
        return Record(start + 1, fields)
    key = "bad_row.width_and_quote" if '"' in line else "bad_row.width"
    return Record(start + 1, fields, Sentence(key, {"values": len(fields), "width": width}))


def open_sheet(lines: list[str], mapping: MappingFile) -> Sheet:
    """The sheet in `lines`: delimiter and header found. Raises FileRefusedError when it is empty or lacks columns."""
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise FileRefusedError("empty.file")
    told = mapping.delimiter
    if lines[first].strip().lower().startswith("sep=") and first + 1 < len(lines):  # Excel's own hint
        told = told or lines[first].strip("\r\n")[4:5] or None
        first += 1
    line = lines[first].rstrip("\r\n")
    if any(unicodedata.category(c) == "Cc" and c != "\t" for c in line[:_LONGEST_HEADER]):
        raise FileRefusedError("not_text.unknown")
    header, delimiter = _best_header(line, first + 1, mapping, (told,) if told else _DELIMITERS)
    complain_about(header)
    if not any(line.strip() for line in lines[first + 1 :]):
        raise FileRefusedError("empty.rows")
    return Sheet(header, delimiter, lines, first + 1)


def _best_header(line: str, number: int, mapping: MappingFile, delimiters: tuple[str, ...]) -> tuple[Header, str]:
    """The delimiter under which most columns are understood; among equals the one that gives more columns."""
    headers = [(read_header(_split(line, delimiter), mapping.columns, number), delimiter) for delimiter in delimiters]
    return max(headers, key=lambda found: (len(found[0].places), found[0].width))


def _split(line: str, delimiter: str) -> list[str]:
    shown = line[:_LONGEST_HEADER]  # no more than a csv.reader takes as one value
    names = [name.strip() for name in next(csv.reader([shown], delimiter=delimiter), [])]
    while names and not names[-1]:
        names.pop()
    if len(names) > _MOST_COLUMNS:
        raise FileRefusedError("too_many_columns", columns=len(names), most=_MOST_COLUMNS)
    return names
