"""Forms are taken from our own pages only."""

from starlette.requests import Request

from shared.errors import ProblemError

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def must_be_same_origin(request: Request) -> None:
    """Raise Problem 403 for a change that another site's page makes the browser send.

    Browsers say where a request comes from: `Sec-Fetch-Site` on secure origins and loopback, `Origin` everywhere
    (`null` from a page with `Referrer-Policy: no-referrer`, where only the former helps). What is no browser sends
    neither, and carries no cookie that somebody else could ride on.
    """
    if request.method in _SAFE_METHODS:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        same = site in ("same-origin", "none")
    else:
        same = origin is None or origin == request.app.state.settings.public_url.rstrip("/")
    if not same:
        raise ProblemError(
            403, "cross-site", "The form came from somewhere else", "This can only be sent from Medled's own pages.",
            remedy="Open the page in Medled and send the form from there.",
        )  # fmt: skip


async def form_guard(request: Request) -> None:
    """FastAPI dependency for routes that take a form: `dependencies=[Depends(form_guard)]`."""
    must_be_same_origin(request)
