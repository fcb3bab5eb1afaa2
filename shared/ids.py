"""Identity: ids that sort by the time they were made, and ids that tell nothing."""

from uuid import UUID, uuid4

import uuid_utils


def new_id() -> UUID:
    """A new UUIDv7 as a standard library UUID (the type that asyncpg and pydantic speak): ids sort by time."""
    return UUID(int=uuid_utils.uuid7().int)


def random_id() -> UUID:
    """A random id, for what public events name and whose place among others would tell of a person (a staff list's)."""
    return uuid4()
