"""HEAD, OPTIONS and `Allow` for every address at once; no route has to think of them."""

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TRIED = ("GET", "POST", "PUT", "PATCH", "DELETE")
_IS_HEAD = "medled.head"


class Methods:
    """Answers HEAD wherever GET is answered, and says in `Allow` everything that an address takes.

    The framework makes a route for each method, answers HEAD on none, and names only the first it finds in `Allow`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and (allowed := _allowed(scope)):
            await Response(status_code=204, headers={"allow": allowed})(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        root = scope.get("root_path", "")

        async def as_asked(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 405:
                # A mount has moved the root to where it stands.
                MutableHeaders(scope=message)["allow"] = _allowed({**scope, "root_path": root})
            if is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # A copy: the server goes by its own, in which this still is a HEAD.
        within = {**scope, "method": "GET", _IS_HEAD: True} if is_head else scope
        await self.app(within, receive, as_asked)


def is_head(scope: Scope) -> bool:
    """Whether what is answered as a GET is a HEAD: for responses that would never end, and must not begin."""
    return bool(scope.get(_IS_HEAD))


def _allowed(scope: Scope) -> str:
    """Every method of this address; empty when it leads nowhere."""
    routes = [(route, isinstance(route, Mount)) for route in scope["app"].routes]
    methods = [
        method
        for method in _TRIED
        for as_such in [{**scope, "method": method}]
        if any(route.matches(as_such)[0] is Match.FULL for route, is_mount in routes if method == "GET" or not is_mount)
    ]
    if "GET" in methods:
        methods.insert(1, "HEAD")
    return ", ".join([*methods, "OPTIONS"]) if methods else ""
