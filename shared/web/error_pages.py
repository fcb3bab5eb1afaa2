"""Error pages for people: plain words, what to do next, no internals."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from shared.errors import ProblemError
from shared.web.render import render


def error_page(request: Request, problem: ProblemError) -> Response:
    """The problem as a page in the reader's language. Who is not signed in is sent to sign in, and back afterwards."""
    if problem.status == 401:
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        # What was posted cannot be sent again after signing in; the page it came from is not known for sure.
        goal = back if request.method == "GET" else "/"
        return RedirectResponse(f"/login?{urlencode({'next': goal})}", 303)
    texts = request.app.state.web.texts
    key = next(
        key
        for key in (
            f"error.{problem.type}",
            f"error.{problem.status}",
            "error.other" if problem.status < 500 else "error.500",
        )
        if f"{key}.title" in texts
    )
    who = getattr(request.state, "who", None)
    # The address of a page that failed may hold a link's token; from here it goes nowhere.
    headers = {"Referrer-Policy": "no-referrer", **(problem.headers or {})}
    return render(request, who, "error.html", status=problem.status, headers=headers, problem=problem, key=key)
