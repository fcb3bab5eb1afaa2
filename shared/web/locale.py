"""Which language a page speaks, and how it writes dates and numbers."""

import datetime as dt
from dataclasses import dataclass

from babel import dates, numbers
from starlette.requests import Request

from shared.clock import DEFAULT_ZONE, zone
from shared.web.texts import LANGUAGES

COOKIE = "medled_lang"
_BABEL = {"sv": "sv_SE", "en": "en_GB"}  # English here means day before month


def choose_language(request: Request, person_locale: str | None) -> str:
    """`?lang=`, else the cookie it left, else the person's own, else what the browser asks for, else Swedish."""
    wanted = [request.query_params.get("lang"), request.cookies.get(COOKIE), person_locale, *_accepted(request)]
    return next((known for text in wanted if text and (known := language_of(text))), LANGUAGES[0])


def language_of(tag: str) -> str | None:
    """The language of ours that a BCP 47 tag means, if any."""
    primary = tag.lower().replace("_", "-").split("-", 1)[0]
    return primary if primary in LANGUAGES else None


def _accepted(request: Request) -> list[str]:
    """Languages of Accept-Language, the most wanted first."""
    weighed: list[tuple[float, str]] = []
    for part in request.headers.get("accept-language", "")[:200].split(","):
        tag, _, weight = part.strip().partition(";q=")
        try:
            weighed.append((float(weight or 1), tag))
        except ValueError:
            continue
    return [tag for weight, tag in sorted(weighed, key=lambda item: -item[0]) if weight > 0]


@dataclass(frozen=True, slots=True)
class Formats:
    """Dates in the reader's own time zone, numbers as the reader writes them."""

    language: str
    time_zone: str = DEFAULT_ZONE

    def date(self, value: dt.date) -> str:
        """`2 mars 2026`; a moment is the day it falls on for the reader."""
        return dates.format_date(self._local(value), "long", locale=_BABEL[self.language])

    def datetime(self, value: dt.datetime) -> str:
        """`2 mars 2026 14:30`."""
        return f"{self.date(value)} {self.time(value)}"

    def time(self, value: dt.datetime) -> str:
        """`14:30`."""
        return dates.format_time(value, "HH:mm", tzinfo=zone(self.time_zone), locale=_BABEL[self.language])

    def weekday(self, value: dt.date) -> str:
        """`måndag 2 mars`."""
        pattern = "EEEE d MMMM"
        return dates.format_date(self._local(value), pattern, locale=_BABEL[self.language])

    def relative(self, value: dt.datetime, now: dt.datetime) -> str:
        """`om 3 dagar`, `2 hours ago`."""
        return dates.format_timedelta(value - now, add_direction=True, locale=_BABEL[self.language])

    def number(self, value: float, digits: int | None = None) -> str:
        """`1 234,5`; `digits` fixes the decimals."""
        pattern = None if digits is None else f"#,##0.{'0' * digits}".rstrip(".")
        return numbers.format_decimal(value, pattern, locale=_BABEL[self.language])

    def percent(self, value: float) -> str:
        """A share between 0 and 1 as `37 %`."""
        return numbers.format_percent(value, locale=_BABEL[self.language])

    def _local(self, value: dt.date) -> dt.date:
        return value.astimezone(zone(self.time_zone)).date() if isinstance(value, dt.datetime) else value
