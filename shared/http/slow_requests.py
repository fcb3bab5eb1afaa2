"""Time for a request to arrive. A client that sends a byte now and then must not hold what others need."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from shared.errors import ProblemError

SLOWEST_BYTES_PER_SECOND = 16 * 1024
"""Bytes a second: a body has the time that it needs at this pace, on top of what every body has."""


class BodyTimeout:
    """Ends a request whose body takes longer than `seconds`, and the time that its bytes take at the slowest pace."""

    def __init__(self, app: ASGIApp, *, seconds: float) -> None:
        self.app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        now = asyncio.get_running_loop().time
        until: float | None = None
        complete = started = False

        async def in_time() -> Message:
            nonlocal until, complete
            if complete:
                return await receive()
            if until is None:
                until = now() + self._seconds
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                if started:  # nothing can be told any more; whoever still reads hears that nobody is there
                    return {"type": "http.disconnect"}
                raise request_timed_out() from None
            until += len(message.get("body", b"")) / SLOWEST_BYTES_PER_SECOND
            complete = not message.get("more_body", False)
            return message

        async def noticing(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        await self.app(scope, in_time, noticing)


def request_timed_out() -> ProblemError:
    """What the client hears, if it still listens; the connection ends, or the rest would look like a request."""
    return ProblemError(
        408, "too-slow", "The request took too long", "Its body did not arrive in time.",
        remedy="Send it again. If your line is that slow, send less at a time.", headers={"Connection": "close"},
    )  # fmt: skip


class HeadTimeoutProtocol(HttpToolsProtocol):
    """uvicorn's protocol with an end to waiting for a request's head; on its own it waits for ever.

    That concerns a new connection that says nothing, a head that trickles in, and what still comes for a request that
    was answered before its body was there. Between requests uvicorn's own keep-alive counts.
    """

    head_seconds: float = 10.0
    _waiting_for_head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.transport.is_closing() and not self._is_answering():
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, though declared otherwise
        return cycle is not None and not cycle.response_complete

    def _wait_for_head(self) -> None:
        if self._waiting_for_head is None:
            self._waiting_for_head = self.loop.call_later(self.head_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting_for_head is not None:
            self._waiting_for_head.cancel()
            self._waiting_for_head = None


def protocol(head_seconds: float) -> type[HeadTimeoutProtocol]:
    """For uvicorn's `http`."""
    return type("Protocol", (HeadTimeoutProtocol,), {"head_seconds": head_seconds})
