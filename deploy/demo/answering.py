"""Respondents: open the link, read the page, tick a rating for each statement, send the form."""

import random
from dataclasses import dataclass, field
from enum import StrEnum
from html.parser import HTMLParser

import httpx

from deploy.demo.house import DemoFailedError

_BROWSER = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"}
_CANNOT_JUDGE, _DOUBT = "none", 0.04


class Deed(StrEnum):
    """What a respondent does with an invitation."""

    answer = "answer"
    decline = "decline"
    nothing = "nothing"


@dataclass
class _Form(HTMLParser):
    """The radio buttons of a page: for each question the values that can be chosen."""

    questions: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "input" and attributes.get("type") == "radio":
            self.questions.setdefault(attributes["name"] or "", []).append(attributes["value"] or "")


async def respond(http: httpx.AsyncClient, link: str, deed: Deed, *, seed: str, level: float) -> None:
    """Answer or decline through the page. A link that was used before is left as it is: it works once.

    `seed` decides chance, `level` (1 to 5) how well this respondent thinks of the subject.
    """
    address = link if deed is Deed.answer else f"{link}/decline"
    page = await http.get(address)
    if page.status_code == httpx.codes.GONE:
        return
    form = _Form()
    form.feed(page.text)
    if page.status_code != httpx.codes.OK or (deed is Deed.answer and not form.questions):
        raise DemoFailedError(f"An invitation's page answered {page.status_code} with {len(form.questions)} questions.")
    chosen = _ratings(form.questions, random.Random(seed), level) if deed is Deed.answer else {}
    sent = await http.post(address, data=chosen, headers=_BROWSER)
    if sent.status_code != httpx.codes.OK:
        raise DemoFailedError(f"Sending the form behind an invitation was answered {sent.status_code}.")


def _ratings(questions: dict[str, list[str]], chance: random.Random, level: float) -> dict[str, str]:
    return {name: _one(values, chance, level) for name, values in questions.items()}


def _one(values: list[str], chance: random.Random, level: float) -> str:
    if _CANNOT_JUDGE in values and chance.random() < _DOUBT:
        return _CANNOT_JUDGE
    rating = round(chance.gauss(level, 0.7))
    return str(min(max(rating, 1), 5))
