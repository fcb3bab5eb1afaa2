"""The encodings that exports come in: a closed list, since a codec is a program, and some take for ever."""

import difflib
import re
from encodings.aliases import aliases

# Each by the name that Python's codec has, with one that people say.
_SAID = {
    "utf_8": "UTF-8", "utf_8_sig": "UTF-8-BOM", "utf_16": "UTF-16", "utf_16_le": "UTF-16LE", "utf_16_be": "UTF-16BE",
    "utf_32": "UTF-32", "ascii": "ASCII", "latin_1": "ISO-8859-1", "iso8859_2": "ISO-8859-2",
    "iso8859_4": "ISO-8859-4", "iso8859_5": "ISO-8859-5", "iso8859_7": "ISO-8859-7", "iso8859_9": "ISO-8859-9",
    "iso8859_10": "ISO-8859-10", "iso8859_13": "ISO-8859-13", "iso8859_15": "ISO-8859-15", "cp1250": "Windows-1250",
    "cp1251": "Windows-1251", "cp1252": "Windows-1252", "cp1253": "Windows-1253", "cp1254": "Windows-1254",
    "cp1257": "Windows-1257", "cp437": "CP437", "cp850": "CP850", "cp852": "CP852", "cp858": "CP858",
    "cp865": "CP865", "mac_roman": "Mac Roman",
}  # fmt: skip
_ALSO = {
    "utf8_bom": "utf_8_sig", "utf_8_bom": "utf_8_sig", "utf_8_with_bom": "utf_8_sig", "unicode": "utf_16",
    "ansi": "cp1252", "windows_ansi": "cp1252", "cp_1252": "cp1252", "win1252": "cp1252", "utf16le": "utf_16_le",
    "utf16be": "utf_16_be", "utf32": "utf_32", "latin_9": "iso8859_15", "macroman": "mac_roman",
}  # fmt: skip
EVERY = tuple(_SAID.values())
ALLOWED = ", ".join(EVERY)


def python_name(told: str) -> str | None:
    """The codec's name for what people call an encoding; None for what is not on the list."""
    name = _plain(told)
    name = _ALSO.get(name, name)
    name = aliases.get(name, name)
    return name if name in _SAID else None


def said(told: str) -> str:
    """What people call an encoding that `python_name` knows; anything else as it is."""
    return _SAID.get(python_name(told) or "", told)


def suggestion(told: str) -> str | None:
    """The name on the list that is most like `told`, if any is."""
    by_plain = {_plain(said): said for said in _SAID.values()} | {name: _SAID[codec] for name, codec in _ALSO.items()}
    found = difflib.get_close_matches(_plain(told), by_plain, n=1, cutoff=0.7)
    return by_plain[found[0]] if found else None


def _plain(told: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", told[:50].lower()).strip("_")
