"""Lists by cursor: a position in an order, never a page number, so that nothing is shown twice or left out."""

import base64
import binascii
import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field

from shared.problems import Problem

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """One page of a list; `next` goes into `?cursor=` for the following one and is null on the last."""

    items: list[T]
    next: str | None = Field(default=None, description="Cursor of the next page; null when this is the last.")


Limit = Annotated[int, Query(ge=1, le=200, description="Most items on the page.")]
Cursor = Annotated[str | None, Query(max_length=2000, description="`next` of the page before.")]


def encode_cursor(*position: UUID | datetime | str | int) -> str:
    """An opaque cursor for the last item's place in the list's order."""
    values = [value.isoformat() if isinstance(value, datetime) else str(value) for value in position]
    return base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str, *parsers: Callable[[str], Any]) -> tuple[Any, ...]:
    """The position that `encode_cursor` was given, each value parsed: `decode_cursor(c, datetime.fromisoformat, UUID)`.

    Raises Problem 400 when the cursor is not one of this list's.
    """
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        texts = [str(value) for value in values]
        "".join(texts).encode()  # a lone surrogate is no text that could be compared with anything: a ValueError
        return tuple(parse(text) for parse, text in zip(parsers, texts, strict=True))
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise Problem(
            400, "invalid-cursor", "The cursor is not valid", "This cursor was not given out by this list.",
            field="cursor", remedy="Take `next` of the page before, or leave the cursor out to begin anew.",
        ) from error  # fmt: skip


def cut(rows: list[T], limit: int, position: Callable[[T], tuple[UUID | datetime | str | int, ...]]) -> Page[T]:
    """A page from `limit + 1` rows: the extra one only tells that there is more."""
    kept = rows[:limit]
    return Page(items=kept, next=encode_cursor(*position(kept[-1])) if len(rows) > limit else None)
