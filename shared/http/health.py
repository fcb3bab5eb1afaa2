"""Whether an API process lives, and whether it can serve requests.

Only the database and its migrations decide: with Kafka away the API goes on accepting. The broker and what
waits for it are told beside it, for people.
"""

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from shared.messaging.outbox import outbox_backlog
from shared.postgres.failures import UNAVAILABLE
from shared.postgres.migrate import pending_migrations
from shared.postgres.pool import Pool
from shared.service import Service
from shared.settings import Settings

_PATIENCE_SECONDS = 2.0


def health_router(service: Service) -> APIRouter:
    """`/health/live` and `/health/ready`, also under the service's prefix, by which the reverse proxy reaches them."""
    router = APIRouter(include_in_schema=False)

    async def live() -> dict[str, str]:
        return {"status": "alive"}

    async def ready(request: Request) -> JSONResponse:
        state = request.app.state
        report = await readiness(state.pool, state.settings, service)
        return JSONResponse(report, 200 if report["status"] == "ready" else 503)

    for prefix in ("", f"/{service.name}"):
        router.add_api_route(f"{prefix}/health/live", live, methods=["GET"])
        router.add_api_route(f"{prefix}/health/ready", ready, methods=["GET"])
    return router


async def readiness(pool: Pool, settings: Settings, service: Service) -> dict[str, Any]:
    """`status` is `ready` or `not_ready`; the rest says why, and how Kafka does."""
    database, broker = await asyncio.gather(_database(pool, service), _is_reachable(settings.kafka_bootstrap))
    is_ready = database["reachable"] and not database["pending_migrations"]
    return {
        "status": "ready" if is_ready else "not_ready",
        "service": service.name,
        "database": database,
        "broker": {"reachable": broker},
    }


async def _database(pool: Pool, service: Service) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS), pool.acquire() as conn:
            pending = await pending_migrations(conn, service)
            outbox = await outbox_backlog(conn) if not pending else None
    except UNAVAILABLE:
        return {"reachable": False, "pending_migrations": [], "outbox": None}
    return {"reachable": True, "pending_migrations": pending, "outbox": outbox}


async def _is_reachable(bootstrap: str) -> bool:
    """Whether anything listens at a bootstrap address. No more than that: consumers have their own health."""
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, ValueError, TimeoutError):
            continue
        writer.close()
        return True
    return False
