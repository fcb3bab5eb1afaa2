"""What every response passes through, as plain ASGI: nothing here holds a body back or buffers a stream."""

from urllib.parse import urlsplit

import asyncpg
import structlog
from starlette.datastructures import URL, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import ProblemError
from shared.http.problem_response import on_http_exception, respond
from shared.observability.tracing import traceresponse
from shared.postgres.failures import is_unavailable

log = structlog.get_logger(__name__)


class SecurityHeaders:
    """Headers that make browsers careful, unless the response has its own; and the trace's id, to ask about later."""

    def __init__(self, app: ASGIApp, *, public_url: str, issuer: str) -> None:
        self.app = app
        issuer_url = urlsplit(issuer)
        self._headers = {
            # Signing out may lead from a form to the issuer, which is often another origin.
            "content-security-policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
            f"frame-ancestors 'none'; form-action 'self' {issuer_url.scheme}://{issuer_url.netloc}",
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
            "permissions-policy": "camera=(), microphone=(), geolocation=()",
            "cache-control": "no-store",
        }
        if public_url.startswith("https://"):
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if (ours := traceresponse()) is not None:
                    headers.setdefault("traceresponse", ours)
            await send(message)

        await self.app(scope, receive, with_headers)


class SingleHost:
    """Refuses a request without exactly one well-formed `Host` (RFC 9112 section 3.2).

    Of two, a proxy and a service may pick different ones; a page made for one host is then cached for the other.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _has_one_host(scope):
            await self.app(scope, receive, send)
            return
        problem = ProblemError(
            400, "invalid-host", "The host is not valid", "The request has no `Host`, several, or one that is none.",
            field="Host", remedy="Send one `Host` header with the name, and the port, that you connect to.",
        )  # fmt: skip
        await respond(Request(scope, receive), problem)(scope, receive, send)


class RelativeRedirects:
    """Makes the framework's redirects, which add or drop a slash, relative: it builds their origin from `Host`.

    Behind a proxy that is not the origin that the browser sees, and any client can send what it likes there.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        origin = f"{scope['scheme']}://{URL(scope=scope).netloc}"

        async def relative(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 307:
                headers = MutableHeaders(scope=message)
                path = headers.get("location", "").removeprefix(origin)
                if path.startswith("/") and not path.startswith("//"):  # that would be another host
                    headers["location"] = path
            await send(message)

        await self.app(scope, receive, relative)


class UnhandledErrors:
    """Answers what nobody else handled: 503 while Postgres is away or busy, 500 without internals for a bug of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = has_nobody_to_tell = False

        async def noticing(message: Message) -> None:
            nonlocal started, has_nobody_to_tell
            started = started or message["type"] == "http.response.start"
            try:
                await send(message)
            except Exception:
                has_nobody_to_tell = True  # the client went, or the framework has answered in our place
                raise

        try:
            await self.app(scope, receive, noticing)
        except Exception as error:
            if has_nobody_to_tell:
                raise
            problem = problem_for(error)
            if problem.status == 500:
                log.exception("unexpected error", error=type(error).__name__)
            else:
                log.warning("request not served", reason=problem.type, error=type(error).__name__)
            if started:
                raise
            await respond(Request(scope, receive), problem)(scope, receive, send)


class BodyTooLarge:
    """Tells a body over its limit as a problem; the framework, which enforces the limit, would tell it as bare text."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        replaced = False

        async def as_problem(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] == 413:
                replaced = MutableHeaders(scope=message).get("content-type", "").startswith("text/plain")
            if not replaced:
                await send(message)

        await self.app(scope, receive, as_problem)
        if replaced:
            await (await on_http_exception(Request(scope, receive), HTTPException(413)))(scope, receive, send)


def _has_one_host(scope: Scope) -> bool:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if not hosts:
        return bool(scope["http_version"] == "1.0")  # some health checks still speak it
    # The framework reads a host that is not well-formed as if it had not been sent.
    return len(hosts) == 1 and hosts[0] in ("", URL(scope=scope).netloc)


def problem_for(error: Exception) -> ProblemError:
    """What an exception that reached the edge means to the client."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, asyncpg.CharacterNotInRepertoireError | asyncpg.UntranslatableCharacterError):
        return ProblemError(
            422, "invalid-request", "The request is not valid", "A text holds a character that cannot be stored.",
            remedy="Remove NUL characters and send the request again.",
        )  # fmt: skip
    if is_unavailable(error):
        return ProblemError(
            503, "unavailable", "Not available right now", "Medled cannot reach what it needs to answer.",
            remedy="Try again in a few seconds; with an Idempotency-Key that is safe for changes too.",
            headers={"Retry-After": "5"},
        )  # fmt: skip
    return ProblemError(
        500, "internal", "Something went wrong here", "The fault is ours, and it has been recorded.",
        remedy="Try again; if it stays, tell your operators the trace id.",
    )  # fmt: skip
