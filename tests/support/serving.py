"""Apps in tests: in process through ASGI, or on a real loopback port where a client of its own has to reach them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from shared.http.slow_requests import protocol

ORIGIN = "http://127.0.0.1:8080"


@asynccontextmanager
async def client_of(app: FastAPI, **arguments: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running app; the app's lifespan is around it. Faults arrive as the responses that clients get."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, **arguments) as client:
            yield client


@asynccontextmanager
async def on_a_port(app: Any, port: int = 0, *, head_seconds: float = 10) -> AsyncIterator[str]:
    """The app behind a real socket, served as in production; gives its origin."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_level="error", access_log=False, ws="none", proxy_headers=False,
        http=protocol(head_seconds),
    )  # fmt: skip
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


async def exchange(origin: str, request: bytes) -> tuple[bytes, bytes]:
    """What comes back for these very bytes, head and body; for requests that no client library would send."""
    url = httpx.URL(origin)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body
