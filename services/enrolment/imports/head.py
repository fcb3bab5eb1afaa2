"""The first lines of a file, for whoever chooses its columns: what stands in the header, and examples of each column.

Unlike an import it refuses no header: one in which columns are missing is the very one to choose for.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from services.enrolment.imports.columns import Header, read_header
from services.enrolment.imports.decoding import Decoded, decode
from services.enrolment.imports.encodings import said
from services.enrolment.imports.mapping import MappingFile
from services.enrolment.imports.records import Sheet
from services.enrolment.imports.refusal import FileRefusedError

LOOKED_AT = 64 * 1024  # bytes
DELIMITERS = (",", ";", "\t", "|")
MOST_COLUMNS = 300
_ROWS = 50
_EXAMPLES = 3
_LONGEST = 40  # characters of an example


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its place in the file, with the first few different values."""

    place: int
    name: str
    examples: Sequence[str]


@dataclass(frozen=True, slots=True)
class Head:
    """How the beginning of a file was understood."""

    encoding: str
    delimiter: str
    header: Header
    columns: Sequence[Column]


def read_head(content: bytes, mapping: MappingFile) -> Head:
    """The head in the first `LOOKED_AT` bytes of a file. Raises FileRefusedError for what is no CSV file."""
    decoded = _decoded(content, mapping.encoding)
    first = next((i for i, line in enumerate(decoded.lines) if line.strip()), None)
    if first is None:
        raise FileRefusedError("empty.file")
    told = mapping.delimiter
    if decoded.lines[first].strip().lower().startswith("sep=") and first + 1 < len(decoded.lines):  # Excel's own hint
        told = told or decoded.lines[first].strip("\r\n")[4:5] or None
        first += 1
    header, delimiter = _best(decoded.lines[first].rstrip("\r\n"), first + 1, mapping, (told,) if told else DELIMITERS)
    sheet = Sheet(header, delimiter, decoded.lines, first + 1)
    return Head(said(decoded.encoding), delimiter, header, _columns(sheet))


def _decoded(content: bytes, encoding: str | None) -> Decoded:
    """Whole lines: where the bytes end, a letter may be cut in two."""
    if len(content) < LOOKED_AT:
        return decode(content, encoding)
    if b"\0" not in content:
        return decode(content[: content.rfind(b"\n") + 1 or len(content)], encoding)
    found = decode(content, encoding)
    return Decoded(found.lines[:-1] or found.lines, found.encoding, found.guessed)


def _best(line: str, number: int, mapping: MappingFile, delimiters: Sequence[str]) -> tuple[Header, str]:
    """As an import: the delimiter under which most columns are understood; among equals the one that gives more."""
    headers = [(read_header(_split(line, each), mapping.columns, number), each) for each in delimiters]
    return max(headers, key=lambda found: (len(found[0].places), found[0].width))


def _split(line: str, delimiter: str) -> list[str]:
    names = [name.strip() for name in next(csv.reader([line[:LOOKED_AT]], delimiter=delimiter), [])]
    while names and not names[-1]:
        names.pop()
    return names


def _columns(sheet: Sheet) -> list[Column]:
    header = sheet.header
    places = {*range(min(header.width, MOST_COLUMNS)), *header.places.values()}  # none that is read lacks its choice
    rows = [record.fields for record in islice(sheet.records(), _ROWS) if record.fault is None]
    return [
        Column(place, header.names[place], _examples([row[place] for row in rows if place < len(row)]))
        for place in sorted(places)
        if header.names[place].strip()
    ]


def _examples(values: Sequence[str]) -> list[str]:
    different = dict.fromkeys(text for value in values if (text := " ".join(value[:200].split())))
    return [text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…" for text in islice(different, _EXAMPLES)]
