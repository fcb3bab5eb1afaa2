"""From the bytes of a file to its text, without asking the sender which encoding it was."""

import codecs
import re
from dataclasses import dataclass

from services.enrolment.imports.refusal import FileRefused

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_TEXT = (
    (b"PK\x03\x04", "an Excel workbook or a zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF document"),
)
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH = re.compile(rb"[\x80-\xff]")


@dataclass(frozen=True, slots=True)
class Decoded:
    """The text, the encoding it was read as, and whether that was a guess somebody should look at."""

    text: str
    encoding: str
    guessed: bool


def decode(content: bytes, encoding: str | None = None) -> Decoded:
    """The text of `content`; an `encoding` from the mapping file ends all guessing. Raises FileRefused."""
    if encoding is not None:
        return _as_told(content, encoding)
    for start, what in _NOT_TEXT:
        if content.startswith(start):
            raise FileRefused("not_text", f"The file is {what}, not CSV.", "Export or save it as CSV and send that.")
    for mark, name in _MARKS:
        if content.startswith(mark):
            return _marked(content, name)
    wide = _wide(content)
    if wide is not None:
        return Decoded(content.decode(wide, "replace"), wide, guessed=True)
    try:
        return Decoded(content.decode("utf-8"), "utf-8", guessed=False)
    except UnicodeDecodeError:
        return _narrow(content)


def _as_told(content: bytes, encoding: str) -> Decoded:
    try:
        return Decoded(content.decode(encoding).removeprefix("\ufeff"), encoding, guessed=False)
    except (LookupError, ValueError) as error:  # ValueError: codecs that decode nothing, names that hold a NUL
        raise FileRefused(
            "encoding", f"The file is not {encoding}: {error}.", "Correct the encoding in the mapping file."
        ) from error


def _marked(content: bytes, name: str) -> Decoded:
    """A byte order mark is a promise; bytes that break it become U+FFFD, which the row check reports by line."""
    return Decoded(content.decode(name, "replace"), name, guessed=False)


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
    paired = sum(len(match) for match in _MULTIBYTE.findall(content))
    if 2 * paired > len(_HIGH.findall(content)):
        return Decoded(content.decode("utf-8", "replace"), "utf-8", guessed=True)
    try:
        return Decoded(content.decode("cp1252"), "cp1252", guessed=True)
    except UnicodeDecodeError:
        return Decoded(content.decode("latin-1"), "latin-1", guessed=True)
