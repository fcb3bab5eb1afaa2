"""Which errors say that the database is away or busy, and which that the statement is at fault."""

import asyncio

import asyncpg

from shared.postgres.pool import Pool

# Errors that say "not now" rather than "never": the dependency is away, or another transaction was in the way.
UNAVAILABLE: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the pool says of a connection that broke under a running statement
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.InvalidAuthorizationSpecificationError,  # a password that is being changed
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.SerializationError,
    asyncpg.ReadOnlySQLTransactionError,
)


# What a statement meets whose table or column is not there: our fault, unless the schema is newer than the process.
MISSING = (asyncpg.UndefinedColumnError, asyncpg.UndefinedTableError)


class NewerSchemaError(ConnectionError):
    """The database was migrated for a newer version, and no longer has what this process asks for."""


def is_unavailable(error: BaseException | None) -> bool:
    """Whether an error is an outage; an InterfaceError of asyncpg about an argument that does not fit is none."""
    is_argument = isinstance(error, asyncpg.InterfaceError) and (
        isinstance(error, ValueError) or "the server expects" in str(error)
    )
    return isinstance(error, UNAVAILABLE) and not is_argument


async def is_outage(pool: Pool, error: BaseException | None) -> bool:
    """As `is_unavailable`, unless a statement took too long while the database answers: then it was the statement."""
    if isinstance(error, TimeoutError):
        try:
            async with asyncio.timeout(5):
                return not await pool.fetchval("select true")
        except UNAVAILABLE:
            return True
    return is_unavailable(error)
