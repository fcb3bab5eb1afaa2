"""Rendering: Jinja2 templates of a service over the shared ones, in the reader's language."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from shared.clock import DEFAULT_ZONE, zone
from shared.events.codes import FILE as CODES
from shared.security.principal import Principal
from shared.security.session import read_session, set_cookie
from shared.web import navigation
from shared.web.locale import COOKIE, Formats, choose_language, language_of
from shared.web.texts import LANGUAGES, Texts

HERE = Path(__file__).parent
STATIC = HERE / "static"
_FORMS = ("date", "datetime", "time", "weekday", "relative", "number", "percent")
_YEAR = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class _View:
    """The reader of the page being rendered: what `t`, `date` and their like go by, in macros too."""

    texts: Texts
    formats: Formats


_view: ContextVar[_View] = ContextVar("view")


class Web:
    """A process's templates and texts: those of the given folders (`templates/`, `texts.toml`) over the shared ones."""

    def __init__(self, page_folders: Sequence[Path] = ()) -> None:
        folders = [folder / "templates" for folder in page_folders] + [HERE / "templates"]
        texts = [CODES, *(folder / "texts.toml" for folder in [HERE, *page_folders])]
        self.texts = Texts.load(path for path in texts if path.is_file())
        self.environment = Environment(
            loader=FileSystemLoader([folder for folder in folders if folder.is_dir()]),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.globals |= {
            "t": _t, "has_text": _has_text, "static": _static,
            **{form: _as_read(form) for form in _FORMS}, "iso": _iso, "time_zone": _time_zone,
        }  # fmt: skip

    def html(self, template: str, language: str, time_zone: str = DEFAULT_ZONE, **context: Any) -> str:
        """A template as text, for whoever reads `language`; without a request, so for mails too."""
        token = _view.set(_View(self.texts, Formats(language, time_zone)))
        try:
            return self.environment.get_template(template).render(language=language, **context)
        finally:
            _view.reset(token)


def _t(key: str, /, **values: object) -> str:
    view = _view.get()
    return view.texts.get(key, view.formats.language, **values)


def _as_read(form: str) -> Callable[..., str]:
    """A filter that writes a value as the reader of the page reads it."""

    def written(*values: Any) -> str:
        text: str = getattr(_view.get().formats, form)(*values)
        return text

    return written


def _has_text(key: str) -> bool:
    return key in _view.get().texts


def _time_zone() -> str:
    """The reader's, for scripts that write times as the page does."""
    return str(zone(_view.get().formats.time_zone))


def _iso(value: date | datetime) -> str:
    return value.isoformat()


@cache
def _static(name: str) -> str:
    """A static file's address, which changes with its content: browsers may keep it as long as they like."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def render(
    request: Request,
    who: Principal | None,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    time_zone: str | None = None,
    **context: Any,
) -> HTMLResponse:
    """A page in the reader's language. Templates extend `base.html`; they see `t`, `who`, `language`, `now`, `context`.

    `?lang=` chooses a language and a cookie remembers it. `who` None: nobody is signed in, or it does not matter here;
    `time_zone` then says which one times are written in.
    """
    state = request.app.state
    language = choose_language(request, who.locale if who else None)
    session = read_session(request) if who is None else None
    html = state.web.html(
        template, language, who.time_zone if who else time_zone or DEFAULT_ZONE,
        who=who,
        signed_in_name=who.name if who else session.name if session else None,
        now=state.clock.now(),
        navigation=navigation.entries_for(who),
        current=None if status == HTTPStatus.NOT_FOUND else navigation.current(request.url.path),
        language_links=[(other, _in_language(request, other)) for other in LANGUAGES if other != language],
        path=request.url.path,
        query=request.query_params,
        **context,
    )  # fmt: skip
    response = HTMLResponse(html, status, dict(headers) if headers else None)
    chosen = language_of(request.query_params.get("lang", ""))
    if chosen:
        set_cookie(response, state.settings, COOKIE, chosen, seconds=_YEAR)
    return response


def _in_language(request: Request, language: str) -> str:
    """This page in another language, as a relative link: a path may hold a token and is not written out again."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "lang"]
    return "?" + urlencode([*kept, ("lang", language)])
