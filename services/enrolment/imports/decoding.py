"""From the bytes of a file to its lines, without asking the sender which encoding it was."""

import codecs
import io
import re
from dataclasses import dataclass
from itertools import islice

from services.enrolment.imports import encodings
from services.enrolment.imports.refusal import FileRefusedError
from services.enrolment.imports.sentences import Phrase

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_TEXT = (
    (b"PK\x03\x04", "excel_or_zip"),
    (b"\xd0\xcf\x11\xe0", "old_excel"),
    (b"\x1f\x8b", "gzip"),
    (b"%PDF", "pdf"),
)
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH = re.compile(rb"[\x80-\xff]{1,60}")
_SAMPLE = 20_000  # runs of bytes above ASCII: enough to tell two encodings apart
_MOST_LINES = 1_000_000


@dataclass(frozen=True, slots=True)
class Decoded:
    """The lines with their ends, the encoding they were read as, and whether that was a guess to look at."""

    lines: list[str]
    encoding: str
    guessed: bool


def decode(content: bytes, encoding: str | None = None) -> Decoded:
    """The lines of `content`; an `encoding` from the mapping file ends all guessing. Raises FileRefusedError."""
    if max(content.count(b"\n"), content.count(b"\r")) > _MOST_LINES:
        raise FileRefusedError("too_many_lines", most=_MOST_LINES)
    if encoding is not None:
        return _as_told(content, encoding)
    for start, what in _NOT_TEXT:
        if content.startswith(start):
            raise FileRefusedError("not_text.known", what=Phrase(f"what.{what}"))
    for mark, name in _MARKS:
        if content.startswith(mark):  # a promise; bytes that break it become U+FFFD, which the row check reports
            return Decoded(_lines(content, name, "replace"), name, guessed=False)
    wide = _wide(content)
    if wide is not None:
        return Decoded(_lines(content, wide, "replace"), wide, guessed=True)
    try:
        return Decoded(_lines(content, "utf-8"), "utf-8", guessed=False)
    except UnicodeDecodeError:
        return _narrow(content)


def _lines(content: bytes, encoding: str, errors: str = "strict") -> list[str]:
    """Line by line: the whole text need not lie in memory beside its lines."""
    # Not str.splitlines(): it would also break lines at form feeds and Unicode separators.
    return io.TextIOWrapper(io.BytesIO(content), encoding, errors, newline="").readlines()


def _as_told(content: bytes, encoding: str) -> Decoded:
    name = encodings.python_name(encoding)
    if name is None:
        raise FileRefusedError("encoding.unknown", encoding=encoding, allowed=encodings.ALLOWED)
    try:
        lines = _lines(content, name)
    except UnicodeError as error:
        raise FileRefusedError("encoding.wrong", encoding=encoding, why=str(error)) from error
    if lines:
        lines[0] = lines[0].removeprefix("\ufeff")
    return Decoded(lines, encoding, guessed=False)


def _wide(content: bytes) -> str | None:
    """UTF-16 without a mark: text in Latin letters has a zero in every other byte."""
    head = content[:4096]
    if len(head) < 4 or head.count(0) < len(head) // 4:
        return None
    return "utf-16-le" if head[1::2].count(0) > head[0::2].count(0) else "utf-16-be"


def _narrow(content: bytes) -> Decoded:
    """Not clean UTF-8: damaged UTF-8 when most bytes above ASCII pair up as UTF-8, else Windows-1252 or Latin-1.

    The distinction matters: reading damaged UTF-8 as Windows-1252 would turn every å of the file into Ã¥.
    """
    sample = b" ".join(found[0] for found in islice(_HIGH.finditer(content), _SAMPLE))
    paired = sum(len(match) for match in _MULTIBYTE.findall(sample))
    if 2 * paired > len(sample) - sample.count(b" "):
        return Decoded(_lines(content, "utf-8", "replace"), "utf-8", guessed=True)
    try:
        return Decoded(_lines(content, "cp1252"), "cp1252", guessed=True)
    except UnicodeDecodeError:
        return Decoded(_lines(content, "latin-1"), "latin-1", guessed=True)
