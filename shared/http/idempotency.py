"""`Idempotency-Key`: the same request a second time is answered like the first and does nothing."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from fastapi.encoders import jsonable_encoder
from pydantic import BaseModel
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from shared.errors import ProblemError, RuleError
from shared.observability.tracing import traceresponse
from shared.postgres.pool import Connection
from shared.postgres.transaction import transaction
from shared.security.principal import Principal

HEADER = "idempotency-key"
KEPT_FOR = timedelta(days=7)
FORM_KEY = "form_key"
"""The field of a page's form that is its Idempotency-Key, made when the page is."""
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(slots=True)
class IdempotentChange:
    """A change being made: the transaction's connection, the time it happens at, and what the client is told."""

    conn: Connection
    now: datetime
    status: int
    response: Response | None = field(default=None, init=False)

    def answer(
        self, body: BaseModel | Any | None, *, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """The response to the request, kept for its Idempotency-Key. None has no body."""
        content = None if body is None else _json(body)
        self.response = Response(
            content, status or self.status, dict(headers or {}), None if content is None else "application/json"
        )
        return self.response


def _json(body: Any) -> str:
    return body.model_dump_json() if isinstance(body, BaseModel) else json.dumps(jsonable_encoder(body))


class KeyReusedError(RuleError):
    """The same key cannot stand for two requests."""

    status = 422
    type = "idempotency-key-reused"
    title = "This Idempotency-Key was used for another request"


class AlreadyAnsweredError(Exception):
    """Not a fault: the way out of a change that was made before. Carries the answer given then."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


async def on_replay(_: Request, exc: AlreadyAnsweredError) -> Response:
    """Handler that gives the first answer again."""
    return exc.response


@asynccontextmanager
async def change(
    request: Request, who: Principal, *, status: int = 200, said: bytes | None = None
) -> AsyncIterator[IdempotentChange]:
    """One request, one transaction, committed when the block ends.

        async with change(request, who, status=201) as tx:
            ...
            return tx.answer(model)

    With an Idempotency-Key the answer is stored in the same transaction; the same request again gets it without
    entering the block, two at once wait for each other. A refused request leaves nothing and may be tried again.
    `said` is a digest of what the request says, for an endpoint whose body has other bytes each time it says the same,
    as a form has; else the body itself is what counts, and the query.
    Raises ProblemError 400 for a key that is none, KeyReusedError for one that was used with another body.
    """
    key = request.headers.get(HEADER)
    _must_be_a_key(key, "Idempotency-Key")
    digest = b"" if key is None else said or digest_of(request, await request.body())
    async with _once(request, who, key, digest, status) as tx:
        yield tx


@asynccontextmanager
async def form_change(
    request: Request, who: Principal, fields: FormData, *, file: bytes = b""
) -> AsyncIterator[IdempotentChange]:
    """The same for a form of a page, which has its key in the field `form_key`: pressed twice, it is done once.

    The block sets `tx.response`. Raises KeyReusedError when the form was sent before and holds something else now.
    """
    key = fields.get(FORM_KEY)
    key = key if isinstance(key, str) else None
    _must_be_a_key(key, FORM_KEY)
    said = urlencode([(name, str(value)) for name, value in fields.multi_items()]).encode()
    digest = await asyncio.to_thread(digest_of, request, said, file) if file else digest_of(request, said)
    async with _once(request, who, key, digest, 303) as tx:
        yield tx


def _must_be_a_key(key: str | None, field_name: str) -> None:
    if key is not None and not _KEY.fullmatch(key):
        raise ProblemError(
            400, "invalid-idempotency-key", "The Idempotency-Key is not valid", "A key is 1 to 255 visible characters.",
            field=field_name, remedy="Send a UUID.",
        )  # fmt: skip


@asynccontextmanager
async def _once(
    request: Request, who: Principal, key: str | None, digest: bytes, status: int
) -> AsyncIterator[IdempotentChange]:
    now: datetime = request.app.state.clock.now()
    async with transaction(request.app.state.pool) as conn:
        if key is None:
            yield IdempotentChange(conn, now, status)
            return
        place = (who.id, f"{request.method} {request.url.path}", key)
        if (before := await _claim(conn, place, digest, now)) is not None:
            raise AlreadyAnsweredError(before)
        tx = IdempotentChange(conn, now, status)
        yield tx
        await _remember(conn, place, tx.response or Response(status_code=status))


def digest_of(request: Request, *parts: bytes) -> bytes:
    """A digest of the request's query and of these parts of its body."""
    content = hashlib.sha256()
    for part in parts:
        content.update(part)
    return hashlib.sha256(request.scope["query_string"] + b"\0" + content.digest()).digest()


_Place = tuple[str, str, str]


async def _claim(conn: Connection, place: _Place, digest: bytes, now: datetime) -> Response | None:
    """Take the key, or find what was answered; waits for who holds the same key now. Drops a few old ones."""
    while True:
        taken = await conn.fetchval(
            """
            with old as (
                delete from idempotency_keys where ctid = any(array(
                    select ctid from idempotency_keys where created_at < $6 order by created_at limit 10
                    for update skip locked))
            )
            insert into idempotency_keys (principal, route, key, body_sha256, created_at) values ($1, $2, $3, $4, $5)
            on conflict do nothing returning true
            """,
            *place, digest, now, now - KEPT_FOR,
        )  # fmt: skip
        if taken:
            return None
        row = await conn.fetchrow(
            """
            select body_sha256, status, headers, body from idempotency_keys
            where principal = $1 and route = $2 and key = $3
            """,
            *place,
        )
        if row is None:
            continue  # it was old, and dropped by the statement before
        if row["body_sha256"] != digest:
            raise KeyReusedError(
                "The key came before with another body.",
                field="Idempotency-Key",
                remedy="Use a new key for a new request, the same key only to repeat one unchanged.",
            )
        return Response(row["body"], row["status"], {**row["headers"], "idempotent-replayed": "true"})


async def _remember(conn: Connection, place: _Place, response: Response) -> None:
    kept = {name: value for name, value in response.headers.items() if name != "content-length"}
    if (trace := traceresponse()) is not None:
        kept["traceresponse"] = trace  # of the request that did it, which a repetition is not
    await conn.execute(
        """
        update idempotency_keys set status = $4, headers = $5, body = $6
        where principal = $1 and route = $2 and key = $3
        """,
        *place, response.status_code, kept, bytes(response.body).decode() or None,
    )  # fmt: skip
