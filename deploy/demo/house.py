"""The house as people outside see it: one address, pages and APIs; whoever acts signs in first."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx

from deploy.issuer.app import DEV_GRANT

T = TypeVar("T")
_PATIENCE_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.15
_AT_ONCE = 12


class DemoFailedError(RuntimeError):
    """Something did not go as it should; the message says what was seen."""


class House:
    """Requests on behalf of people, each with a token of the local issuer."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self._tokens: dict[str, asyncio.Task[str]] = {}
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def get(self, who: str, path: str, **query: Any) -> Any:
        """What the API answers this person. Raises DemoFailedError unless it succeeds."""
        return _body(await self.ask(who, path, **query))

    async def ask(self, who: str, path: str, **query: Any) -> httpx.Response:
        """The bare answer, whatever its status."""
        headers = await self.headers(who)
        return await self._known(lambda: self.http.get(path, params=query, headers=headers))

    async def all_of(self, who: str, path: str, **query: Any) -> list[dict[str, Any]]:
        """Every item of a paged list."""
        items: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.get(who, path, limit=100, **query, **cursor)
            items += page["items"]
            if page["next"] is None:
                return items
            cursor = {"cursor": page["next"]}

    async def post(self, who: str, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """Do something as this person. `key`: the Idempotency-Key, so that doing it again does it once."""
        return _body(await self._post(who, path, body, key))

    async def trace_of(self, who: str, path: str) -> str:
        """Do something as this person; the id of the trace in which it was done, the first time if it was before."""
        response = await self._post(who, path, None, None)
        _body(response)
        return response.headers["traceresponse"].split("-")[1]

    async def _post(self, who: str, path: str, body: Any, key: str | None) -> httpx.Response:
        headers = await self.headers(who) | {"idempotency-key": f"demo:{key or path}"}
        return await self._known(lambda: self.http.post(path, json=body, headers=headers))

    async def _known(self, send: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        """The answer of a service that has heard who the account is: enrolment tells it in the first second."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            async with self._gate:
                response = await send()
            if not _is_unbound(response) or time.monotonic() > deadline:
                return response
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def headers(self, who: str) -> dict[str, str]:
        """What this person's requests carry."""
        if who not in self._tokens:
            self._tokens[who] = asyncio.create_task(self._sign_in(who))
        return {"authorization": f"Bearer {await self._tokens[who]}"}

    async def _sign_in(self, who: str) -> str:
        response = await self.http.post("/issuer/token", data={"grant_type": DEV_GRANT, "sub": who})
        token: str = _body(response)["access_token"]
        _body(await self.http.get("/enrolment/v1/me", headers={"authorization": f"Bearer {token}"}))
        return token


@asynccontextmanager
async def entered(public_url: str) -> AsyncIterator[House]:
    """The house behind this address."""
    async with httpx.AsyncClient(base_url=public_url, timeout=30, trust_env=False) as http:
        yield House(http)


async def until(what: str, look: Callable[[], Awaitable[T | None]], seconds: float = _PATIENCE_SECONDS) -> T:
    """Look again and again until there is something to see. Raises DemoFailedError when patience ends."""
    deadline = time.monotonic() + seconds
    while True:
        seen = await look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise DemoFailedError(f"Waited {seconds:.0f} seconds in vain until {what}.")
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


def _is_unbound(response: httpx.Response) -> bool:
    return response.status_code == httpx.codes.FORBIDDEN and "/problems/sign-in-unbound" in response.text


def _body(response: httpx.Response) -> Any:
    if response.is_success:
        return response.json() if response.content else None
    request = response.request
    raise DemoFailedError(f"{request.method} {request.url.path} answered {response.status_code}: {response.text[:500]}")
