"""Forms of our pages: a use case, then back to a page that says how it went and may be reloaded.

Before what cannot be undone stands a page that asks. A form that people fill in is shown again with what they typed and
what is wrong with it until it is taken; it has a key, so that pressed twice it makes one.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from shared.errors import RuleError
from shared.http.idempotency import form_change
from shared.http.request import now, pool
from shared.postgres.pool import Connection
from shared.postgres.transaction import transaction
from shared.security.principal import Principal
from shared.web.render import render

MOST_FIELDS = 3000  # a programme's hundred milestones, with all there is to choose for each


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a field: the name of a text, and what stands in it."""

    text: str
    values: Mapping[str, object] = field(default_factory=dict)


def confirm(request: Request, who: Principal, about: str, *, action: str, back: str, **values: str) -> HTMLResponse:
    """Ask with the texts `<about>.title`, `.lead` and `.yes`; yes posts to `action`, no leads `back`."""
    return render(request, who, "confirm.html", about=about, action=action, back=back, values=values)


async def submit(
    request: Request,
    action: Callable[[Connection, datetime], Awaitable[Any]],
    *,
    back: str,
    done: str,
    then: str | None = None,
) -> RedirectResponse:
    """Run `action` on one transaction. Afterwards `then`, or `back` with the text `done.<done>`; when a rule refuses,
    `back` with the text `refused.<type>`, so that the reader sees how things stand now.
    """
    try:
        async with transaction(pool(request)) as conn:
            await action(conn, now(request))
    except RuleError as refused:
        return RedirectResponse(f"{back}?refused={refused.type}", 303)
    return RedirectResponse(then or f"{back}?done={done}", 303)


async def fields_of(request: Request) -> FormData:
    """What was filled in: texts only."""
    async with request.form(max_files=0, max_fields=MOST_FIELDS) as form:
        return FormData([(name, value) for name, value in form.multi_items() if isinstance(value, str)])


async def submit_once(
    request: Request, who: Principal, fields: FormData, action: Callable[[Connection, datetime], Awaitable[str]],
    *, file: bytes = b"",
) -> Response:  # fmt: skip
    """Run `action`, which says where to go then, unless this very form was taken before; then go where it led.

    `file` is the content of a file that was sent with it.

    Raises RuleError: the form is to be shown again, with a key of its own.
    """
    async with form_change(request, who, fields, file=file) as tx:
        response = tx.response = RedirectResponse(await action(tx.conn, tx.now), 303)
    return response


def typed(fields: FormData, name: str) -> str:
    """What stands in a field, as one line: without the spaces around it, and with one where there are several."""
    return " ".join(str(fields.get(name, "")).split())
