"""What this service's endpoints take alike."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path

from shared.http.pagination import Cursor, decode_cursor
from shared.security.authentication import principal

SIGNED_IN = [Depends(principal)]
"""For what everybody who is signed in may read."""

CohortId = Annotated[UUID, Path(description="The cohort.")]
EnrolmentId = Annotated[UUID, Path(description="The enrolment.")]


def _after(cursor: Cursor = None) -> UUID | None:
    if cursor is None:
        return None
    found: UUID = decode_cursor(cursor, UUID)[0]
    return found


After = Annotated[UUID | None, Depends(_after)]
"""The id after which a page of a list begins; our lists are in the order of their ids."""
