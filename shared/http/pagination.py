"""Lists by cursor: a position in an order, never a page number, so that nothing is shown twice or left out."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import asyncpg
from fastapi import Query
from pydantic import BaseModel, Field

from shared.errors import ProblemError
from shared.postgres.pool import Connection

T = TypeVar("T")
Shown = TypeVar("Shown")


class Page(BaseModel, Generic[T]):
    """One page of a list; `next` goes into `?cursor=` for the following one and is null on the last."""

    items: list[T]
    next: str | None = Field(default=None, description="Cursor of the next page; null when this is the last.")

    def of(self, show: Callable[[T], Shown]) -> "Page[Shown]":
        """The same page with its items as they are shown."""
        return Page(items=[show(item) for item in self.items], next=self.next)


Limit = Annotated[int, Query(ge=1, le=200, description="Most items on the page.")]
Cursor = Annotated[
    str | None,
    Query(
        max_length=2000,
        description="`next` of the page before, as it was: URL-safe Base64 without padding. What is in it is the "
        "list's own, and may change with any release.",
        examples=["WyIwMTk4YzBkZS0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDEiXQ"],
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"},
    ),
]


def encode_cursor(*position: UUID | datetime | date | str | int) -> str:
    """An opaque cursor for the last item's place in the list's order."""
    values = [value.isoformat() if isinstance(value, datetime) else str(value) for value in position]
    return base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()


def instant(text: str) -> datetime:
    """A time in a cursor, for `decode_cursor`: in UTC, since at the calendar's ends not every offset has one."""
    return datetime.fromisoformat(text).astimezone(UTC)


def decode_cursor(cursor: str, *parsers: Callable[[str], Any]) -> tuple[Any, ...]:
    """The position that `encode_cursor` was given, each value parsed: `decode_cursor(c, instant, UUID)`.

    Raises ProblemError 400 when the cursor is not one of this list's.
    """
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        texts = [str(value) for value in values]
        "".join(texts).encode()  # a lone surrogate is no text that could be compared with anything: a ValueError
        return tuple(parse(text) for parse, text in zip(parsers, texts, strict=True))
    except (ValueError, TypeError, OverflowError, binascii.Error, RecursionError) as error:
        raise ProblemError(
            400, "invalid-cursor", "The cursor is not valid", "This cursor was not given out by this list.",
            field="cursor", remedy="Take `next` of the page before, or leave the cursor out to begin anew.",
        ) from error  # fmt: skip


async def fetch_page(
    conn: Connection,
    query: str,
    *args: object,
    limit: int,
    item: Callable[[asyncpg.Record], T],
    by: Sequence[str] = ("id",),
) -> Page[T]:
    """One page of a query: its last parameter is the limit, `by` names the columns it is ordered by.

    One row more is fetched than the page has: it only tells that there is a next, and is no item of anything.
    """
    rows = await conn.fetch(query, *args, limit + 1)
    kept = rows[:limit]
    following = encode_cursor(*(kept[-1][column] for column in by)) if len(rows) > limit else None
    return Page(items=[item(row) for row in kept], next=following)
