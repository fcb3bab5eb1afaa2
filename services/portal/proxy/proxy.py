"""A small reverse proxy, so that the embedded stack has one origin without another program to install.

Production uses a real one: without upstreams this middleware passes everything through.
"""

from collections.abc import AsyncIterator, Mapping

import httpx
import structlog
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from services.portal.proxy.answers import unreachable
from shared.errors import ProblemError
from shared.http.problem_response import respond
from shared.observability.tracing import traceparent_of

log = structlog.get_logger(__name__)

# RFC 9110 section 7.6.1: for one connection only, never handed on.
_HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip
# Said by us about the client; what the client says of itself here is not believed.
_OURS = frozenset(
    {
        "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded",
        "traceparent", "tracestate", "baggage",
    }
)  # fmt: skip

_TIMEOUT = {"connect": 2.0, "read": 60.0, "write": 30.0}

# How much a body may have is for the service behind to say; this only keeps out the absurd.
_MOST_BYTES = 1024**3


def add_proxy(app: Starlette, upstreams: Mapping[str, str]) -> None:
    """Let `app` hand these services' paths on to them; nothing happens without upstreams."""
    if upstreams:
        app.add_middleware(Proxy, upstreams=upstreams)


class Proxy:
    """ASGI middleware: hands `/<name>` and everything below it to `upstreams[name]`, the rest to the app.

    Bodies stream both ways. Nothing of a path is logged: it may hold a single-use token.
    """

    def __init__(self, app: ASGIApp, upstreams: Mapping[str, str]) -> None:
        self._app = app
        self._upstreams = {name: httpx.URL(url) for name, url in upstreams.items()}
        # The bare transport: no cookie jar shared between people, no redirects followed, no headers added, no logs.
        # Idle connections end well before the services end them, so that no request meets a closing one.
        # Without a bound on those in use: requests that arrive slowly hold one each, and would hold what others need.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=50, keepalive_expiry=30)
        self._transport = httpx.AsyncHTTPTransport(limits=limits, trust_env=False)
        self._passing = RequestBodyLimitMiddleware(self._pass, max_body_size=_MOST_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, or leave it to the app."""
        if scope["type"] == "http" and _service(scope) in self._upstreams:
            await self._passing(scope, receive, send)
        elif scope["type"] == "lifespan":
            async with self._transport:
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._forward(request, self._upstreams[_service(scope)])
        except ClientDisconnect:
            return
        except ProblemError as problem:  # its body did not come in time
            response = respond(request, problem)
        await response(scope, receive, send)

    async def _forward(self, request: Request, upstream: httpx.URL) -> Response:
        outgoing = httpx.Request(
            request.method, upstream.copy_with(raw_path=_raw_path(request)), headers=_headers_out(request),
            content=_body(request), extensions={"timeout": _TIMEOUT},
        )  # fmt: skip
        try:
            incoming = await self._transport.handle_async_request(outgoing)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return await self._refuse(request, upstream, 503)
        except httpx.TimeoutException:
            return await self._refuse(request, upstream, 504)
        except httpx.TransportError:
            return await self._refuse(request, upstream, 502)
        response = StreamingResponse(
            _stream(incoming), status_code=incoming.status_code, background=BackgroundTask(incoming.aclose)
        )
        response.raw_headers = _headers_back(incoming)
        return response

    async def _refuse(self, request: Request, upstream: httpx.URL, status: int) -> Response:
        log.warning("proxy.unreachable", upstream=f"{upstream.host}:{upstream.port}", status=status)
        return await unreachable(request, status)


def _service(scope: Scope) -> str:
    """The first part of the path: `/feedback/v1/rounds` is feedback's."""
    path: str = scope["path"]
    return path[1:].partition("/")[0] if path.startswith("/") else ""


def _raw_path(request: Request) -> bytes:
    """Path and query exactly as the client sent them, percent-encoding included."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope["query_string"]
    return raw.split(b"?", 1)[0] + (b"?" + query if query else b"")


def _headers_out(request: Request) -> list[tuple[bytes, bytes]]:
    named = _connection_named(request.headers.get("connection", ""))
    kept = [
        (name, value.strip(b" \t"))  # spaces around a value are not part of it (RFC 9110, 5.5), and h11 refuses them
        for name, value in request.headers.raw
        if (lower := name.decode("latin-1").lower()) not in _HOP_BY_HOP and lower not in _OURS and lower not in named
    ]
    client = request.client.host if request.client else "unknown"
    return [
        *kept,
        (b"x-forwarded-for", client.encode()),
        (b"x-forwarded-proto", request.url.scheme.encode()),
        (b"x-forwarded-host", request.headers.get("host", "").encode("latin-1")),
        *_trace(),
    ]


def _trace() -> list[tuple[bytes, bytes]]:
    """The trace that began with the request here; the services trust us with it."""
    traceparent, _ = traceparent_of(None)
    return [(b"traceparent", traceparent.encode())] if traceparent else []


def _headers_back(response: httpx.Response) -> list[tuple[bytes, bytes]]:
    named = _connection_named(response.headers.get("connection", ""))
    return [
        (name.lower(), value)
        for name, value in response.headers.raw
        if (lower := name.decode("latin-1").lower()) not in _HOP_BY_HOP
        and lower not in named
        and lower not in ("date", "server")  # this process's server adds its own
    ]


def _connection_named(value: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in value.split(",") if name.strip())


def _body(request: Request) -> AsyncIterator[bytes] | None:
    """The request's body as it comes; None when it has none, or a GET would become chunked."""
    has_body = "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
    return request.stream() if has_body else None


async def _stream(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body's bytes, still compressed if the service compressed them."""
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    finally:
        await response.aclose()
