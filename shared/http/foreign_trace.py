"""A trace that a request claims to belong to: ours when a proxy that we trust says so, else somebody's, to link to.

An adopted id would be a client's to choose: events would carry it, and two undertakings could be made to look like one.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from opentelemetry import trace
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.observability.tracing import context_from

Network = IPv4Network | IPv6Network

_FOREIGN = "medled.foreign_trace"
_HEADERS = (b"traceparent", b"tracestate", b"baggage")


def without_foreign_trace(scope: Scope, trusted: Sequence[Network]) -> Scope:
    """The request without the trace context of a client that is no trusted proxy; it is kept aside, to link to."""
    claimed = [name for name, _ in scope.get("headers", ()) if name in _HEADERS]
    if scope["type"] != "http" or not claimed or _is_trusted(scope, trusted):
        return scope
    said = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _HEADERS}
    kept = [(name, value) for name, value in scope["headers"] if name not in _HEADERS]
    return {**scope, "headers": kept, _FOREIGN: said.get(b"traceparent")}


class LinksForeignTrace:
    """Links the request's own span to the trace that the client said it belongs to."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if foreign := scope.get(_FOREIGN):
            theirs = trace.get_current_span(context_from(foreign, None)).get_span_context()
            if theirs.is_valid:
                trace.get_current_span().add_link(theirs)
        await self.app(scope, receive, send)


def _is_trusted(scope: Scope, trusted: Sequence[Network]) -> bool:
    if not trusted or not scope.get("client"):
        return False
    try:
        address = ip_address(scope["client"][0])
    except ValueError:
        return False  # a socket of this machine has no address
    return any(address in network for network in trusted)
