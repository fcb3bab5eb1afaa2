"""Identity: every id Medled makes is a UUIDv7, so ids sort by the time they were made."""

from uuid import UUID

import uuid_utils


def new_id() -> UUID:
    """A new UUIDv7 as a standard library UUID (the type that asyncpg and pydantic speak)."""
    return UUID(int=uuid_utils.uuid7().int)
