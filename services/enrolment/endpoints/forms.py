"""Forms of our pages: a use case, then back to a page that says how it went and may be reloaded.

Before what cannot be undone stands a page that asks.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from shared.errors import RuleError
from shared.http.request import now, pool
from shared.postgres.pool import Connection
from shared.postgres.transaction import transaction
from shared.security.principal import Principal
from shared.web.render import render


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
