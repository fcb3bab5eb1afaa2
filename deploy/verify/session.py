"""One connection to each service's database, for as long as the verification of a topic takes."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
from aiokafka.errors import KafkaError

from deploy.verify.store.tables import Connection
from shared.postgres.failures import UNAVAILABLE

AWAY = (*UNAVAILABLE, KafkaError)
"""What is worth waiting for."""


class CannotVerifyError(RuntimeError):
    """A database or the broker did not answer for as long as was to be waited; the message says which."""


@asynccontextmanager
async def connect(service: str, dsn: str) -> AsyncIterator[Connection]:
    """Raises ConnectionError while the database is away, and CannotVerifyError where waiting will not help."""
    try:
        conn = await asyncpg.connect(dsn, timeout=5, command_timeout=120)
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise CannotVerifyError(f"{service}'s database: {error}") from error
    except UNAVAILABLE as error:
        raise ConnectionError(f"{service}'s database: {str(error) or type(error).__name__}") from error
    except asyncpg.PostgresError as error:
        raise CannotVerifyError(f"{service}'s database: {error}") from error
    try:
        yield conn
    except asyncpg.UndefinedTableError as error:
        raise CannotVerifyError(f"{service}'s database: {error}. Is it migrated (`medled migrate`)?") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotVerifyError(f"{service}'s database: {error}") from error
    finally:
        await conn.close(timeout=5)


@asynccontextmanager
async def connect_all(databases: Mapping[str, str], services: Collection[str]) -> AsyncIterator[dict[str, Connection]]:
    """The same for several services."""
    async with AsyncExitStack() as stack:
        yield {service: await stack.enter_async_context(connect(service, databases[service])) for service in services}


def named(error: BaseException) -> str:
    """Who does not answer, and how."""
    text = str(error) or type(error).__name__
    return f"the broker: {text}" if isinstance(error, KafkaError) else text
