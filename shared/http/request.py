"""What endpoints take: who asks, and a JSON body, which is read strictly: no value is converted from another type."""

from datetime import date, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Depends
from pydantic import BaseModel, BeforeValidator, ConfigDict, Strict
from pydantic_core import PydanticCustomError
from starlette.requests import Request

from shared.clock import Clock
from shared.events.vocabulary import Day
from shared.postgres.pool import Pool
from shared.security.authentication import principal
from shared.security.principal import Principal

T = TypeVar("T")

Who = Annotated[Principal, Depends(principal)]
"""Whoever asks: what an endpoint takes that needs to know."""


class RequestBody(BaseModel):
    """Base of all request bodies: no unknown fields, and each value of the JSON type that its field has.

    `true` is no number, and neither is `"1"`. What JSON writes as a string though it is more than one is declared
    `Id`, `WrittenDay` or `Named[...]`.
    """

    model_config = ConfigDict(extra="forbid", strict=True)


def _written_out(value: Any) -> Any:
    if not isinstance(value, str):
        return value  # refused by its type
    try:
        if len(value) != len("YYYY-MM-DD"):
            raise ValueError
        return date.fromisoformat(value)
    except ValueError:
        raise PydanticCustomError("date_parsing", "Input should be a valid date") from None


Id = Annotated[UUID, Strict(False)]
"""A UUID's text."""

WrittenDay = Annotated[Day, BeforeValidator(_written_out)]
"""A calendar day as YYYY-MM-DD. Otherwise a number in a string would be read as seconds since 1970."""

Named = Annotated[T, Strict(False)]
"""A member of an enumeration by its value."""


def pool(request: Request) -> Pool:
    """The process's database pool."""
    found: Pool = request.app.state.pool
    return found


def now(request: Request) -> datetime:
    """The time that business rules go by."""
    clock: Clock = request.app.state.clock
    return clock.now()
