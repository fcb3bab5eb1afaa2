"""What one cell may say: each reader gives the value to keep, or raises Unusable with what is wrong and what to do."""

import re
import unicodedata
import zoneinfo
from collections.abc import Mapping, Sequence
from functools import cache

from services.enrolment.imports.columns import folded
from services.enrolment.imports.sentences import Sentence, Value
from shared.events import PersonStatus
from shared.events.vocabulary import is_one_line

_EMAIL = re.compile(r"[^@\s<>()\[\]\",;:\\]+@[^@\s<>()\[\]\",;:\\.]+(\.[^@\s<>()\[\]\",;:\\.]+)+")
_NO_NAME = ("-", "–", "—")
_LONGEST_EMAIL = 254  # RFC 5321, section 4.5.3.1.3
_LONGEST_LOCALE = 35  # RFC 5646 section 4.4.1
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_LANGUAGES = {"swedish": "sv", "svenska": "sv", "english": "en", "engelska": "en"}
_COUNTRIES = {"unitedkingdom": "GB", "unitedstates": "US", "unitedstatesofamerica": "US", "sweden": "SE"}

_STATUSES: dict[PersonStatus, str] = {
    PersonStatus.active: "active, employed, current, working, yes, true, 1, a, aktiv, anställd, ja",
    PersonStatus.on_leave: "on leave, leave, leave of absence, absent, parental leave, sick leave, tjänstledig,"
    "föräldraledig, sjukskriven, ledig, frånvarande",
    PersonStatus.inactive: "terminated, inactive, left, retired, resigned, dismissed, deceased, former, ended, no,"
    "false, 0, avslutad, avslutat, inaktiv, slutat, pensionerad, uppsagd, avliden, nej",
}


class UnusableValueError(Exception):
    """A cell's value cannot be used."""

    def __init__(self, key: str, **values: Value) -> None:
        super().__init__(key)
        self.sentence = Sentence(key, values)


def clean(text: str, longest: int) -> str:
    """`text` with every run of white space as one space.

    Raises UnusableValueError for damaged, unprintable or endless text.
    """
    if not text.isascii() or not text.isprintable() or "  " in text or text[:1] == " " or text[-1:] == " ":
        text = " ".join(text.split())
        if len(text) > 4 * longest:  # thousands of accents on one letter take minutes to normalise
            raise _too_long(text, longest)
        text = unicodedata.normalize("NFC", text)
        if "\ufffd" in text:
            raise UnusableValueError("damaged")
        if not is_one_line(text) or any(unicodedata.category(c) in {"Co", "Cn"} for c in text):
            raise UnusableValueError("unprintable")
    if len(text) > longest:
        raise _too_long(text, longest)
    return text


def are_clean(texts: Sequence[str], longest: int) -> bool:
    """Whether `clean` surely leaves every one of these as it is; False may also mean that it has to be asked."""
    joined = "|".join(texts)
    return (
        joined.isascii()
        and joined.isprintable()
        and not any(gap in joined for gap in ("  ", " |", "| "))
        and joined[:1] != " " != joined[-1:]
        and max(map(len, texts), default=0) <= longest
    )


def _too_long(text: str, longest: int) -> UnusableValueError:
    return UnusableValueError("too_long", length=len(text), most=longest)


def read_name(text: str) -> str:
    """A given or family name. Both are needed; somebody who has only one has `-` for the other."""
    if not text:
        raise UnusableValueError("no_name.empty")
    return "" if text in _NO_NAME else text


@cache
def _status_words() -> Mapping[str, PersonStatus]:
    return {folded(word): status for status, words in _STATUSES.items() for word in words.split(",")}


@cache
def _own_words(statuses: tuple[tuple[str, str], ...]) -> Mapping[str, PersonStatus]:
    return {folded(word): PersonStatus(status) for word, status in statuses}


def read_status(text: str, own: tuple[tuple[str, str], ...] = ()) -> PersonStatus:
    """A worker status, also in Swedish; `own` words, from the mapping file, come first. Blank is active.

    A word nobody knows is an error, since guessing would keep somebody in who left or throw somebody out who stays.
    """
    word = folded(text)
    if not word:
        return PersonStatus.active
    status = _own_words(own).get(word) or _status_words().get(word)
    if status is None:
        raise UnusableValueError("unknown_status", status=text)
    return status


def read_email(text: str) -> str:
    if len(text) > _LONGEST_EMAIL or not _EMAIL.fullmatch(text):
        raise UnusableValueError("bad_email", text=text)
    return text


def are_emails(texts: Sequence[str]) -> bool:
    """Whether `read_email` takes every one of these that is not empty."""
    return max(map(len, texts), default=0) <= _LONGEST_EMAIL and all(map(_EMAIL.fullmatch, filter(None, texts)))


def read_locale(text: str) -> str:
    """A BCP 47 tag from `en-GB`, `en_gb`, `Swedish` or Workday's `English (United Kingdom)`."""
    if len(text) <= _LONGEST_LOCALE and _LOCALE.fullmatch(text) and folded(text) not in _LANGUAGES:
        language, *rest = re.split("[-_]", text)
        return "-".join([language.lower(), *(part.upper() if len(part) == 2 else part.title() for part in rest)])
    language, _, country = text.partition("(")
    known = _LANGUAGES.get(folded(language))
    if known is None:
        raise UnusableValueError("bad_locale", text=text)
    region = _COUNTRIES.get(folded(country))
    return f"{known}-{region}" if region else known


@cache
def _zones() -> Mapping[str, str]:
    return {name.lower(): name for name in zoneinfo.available_timezones()}


def read_time_zone(text: str) -> str:
    zone = _zones().get(text.lower())
    if zone is None:
        raise UnusableValueError("bad_time_zone", text=text)
    return zone


def read_unit(text: str, separator: str) -> tuple[str, ...]:
    """The unit's path from the top: `Head Office - Legal` is Legal within Head Office."""
    path = tuple(part for part in (part.strip() for part in text.split(separator)) if part)
    if not path:
        raise UnusableValueError("no_unit")
    if len(path) > 20 or any(len(part) > 200 for part in path):
        raise UnusableValueError("deep_unit")
    return path
