"""Pages as their readers see them, and their forms, filled in and sent as a browser does without scripts."""

import html
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx

PAGE = {"accept": "text/html"}


def words(response: httpx.Response) -> str:
    """The words of a page, without its markup."""
    body = response.text[response.text.index("<main") :]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


async def page(client: httpx.AsyncClient, path: str, status: int = 200) -> str:
    """The words of the page at this address."""
    response = await client.get(path, headers=PAGE)
    assert response.status_code == status, response.text
    return words(response)


async def follow(client: httpx.AsyncClient, response: httpx.Response) -> str:
    """The page that a form which was taken leads to."""
    assert response.status_code == 303, words(response)
    return await page(client, response.headers["location"])


@dataclass
class Form:
    """A form as it stands on a page: where it goes, and what is filled in."""

    action: str
    fields: list[tuple[str, str]] = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        return next(value for known, value in self.fields if known == name)

    def values(self, name: str) -> list[str]:
        return [value for known, value in self.fields if known == name]

    def fill(self, **typed: str | list[str]) -> "Form":
        """Type into fields, `.` written as `__`; a list ticks these boxes and no others of its name."""
        for written, value in typed.items():
            name = written.replace("__", ".")
            values = value if isinstance(value, list) else [value]
            self.fields = [(known, kept) for known, kept in self.fields if known != name]
            self.fields += [(name, each) for each in values]
        return self

    async def press(self, client: httpx.AsyncClient, do: str | None = None) -> httpx.Response:
        """Send it with one of its buttons, without following where it leads."""
        said: dict[str, list[str]] = {}
        for name, value in [*self.fields, *([("do", do)] if do else [])]:
            said.setdefault(name, []).append(value)
        return await client.post(self.action, data=said, headers=PAGE)


class _Reader(HTMLParser):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.forms: list[Form] = []
        self._open: Form | None = None
        self._text: str | None = None
        self._select: str | None = None
        self._options: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        if tag == "form":
            self._open = Form(has.get("action") or self.path)
            self.forms.append(self._open)
        elif self._open is None:
            return
        elif tag == "input" and (name := has.get("name")):
            if has.get("type") not in ("checkbox", "radio") or "checked" in has:
                self._open.fields.append((name, has.get("value") or ""))
        elif tag == "textarea":
            self._text = has.get("name")
            self._open.fields.append((self._text or "", ""))
        elif tag == "select":
            self._select, self._options = has.get("name"), []
        elif tag == "option" and self._select:
            self._options.append((has.get("value") or "", "selected" in has))

    def handle_data(self, data: str) -> None:
        if self._open and self._text:
            self._open.fields[-1] = (self._text, data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "select" and self._open and self._select and self._options:
            chosen = next((value for value, selected in self._options if selected), self._options[0][0])
            self._open.fields.append((self._select, chosen))
            self._select = None
        elif tag == "textarea":
            self._text = None
        elif tag == "form":
            self._open = None


def form_in(response: httpx.Response, action: str = "") -> Form:
    """The form on a page whose address ends with `action`; the last one unless it is named."""
    reader = _Reader(response.request.url.path)
    reader.feed(response.text)
    return [form for form in reader.forms if form.action.endswith(action)][-1]


async def form_at(client: httpx.AsyncClient, path: str, action: str = "") -> Form:
    """The form on the page at this address."""
    response = await client.get(path, headers=PAGE)
    assert response.status_code == 200, response.text
    return form_in(response, action)
