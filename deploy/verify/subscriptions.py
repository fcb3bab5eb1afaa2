"""Who subscribes to what, as the services' composition roots wire it."""

import importlib
from collections.abc import Sequence
from typing import Any

from shared.messaging.handler import Handler
from shared.postgres.pool import create_pool
from shared.runtime.worker import Worker
from shared.settings import Settings

# The workers are built and never run: nothing is connected to, and what these say is not used.
_PLACEHOLDERS = {
    "environment": "development", "database_url": "postgresql://nobody@127.0.0.1:1/none",
    "kafka_bootstrap": "127.0.0.1:1", "public_url": "http://127.0.0.1", "oidc_issuer": "http://127.0.0.1",
    "session_secret": "never used, never used, never used",
    "link_secret": "never used, never used, never used", "ballot_secret": "not used either, not used either",
    "mail_sender": "nobody@localhost.localdomain", "smtp_host": "127.0.0.1", "smtp_security": "none",
}  # fmt: skip


async def declared_handlers(service: str) -> Sequence[Handler]:
    """The handlers of a service's worker, for their names, types and effects."""
    return (await _worker(service)).consumer.handlers.all


async def declared_timers(service: str) -> Sequence[str]:
    """The kinds of timers that a service's worker runs."""
    return (await _worker(service)).timer_kinds


async def _worker(service: str) -> Worker:
    settings = _settings_type(service).model_validate(_PLACEHOLDERS)
    pool = await create_pool(settings, name="medled-verify")
    create_worker: Any = importlib.import_module(f"services.{service}.app").create_worker
    worker: Worker = create_worker(settings, pool)
    return worker


def _settings_type(service: str) -> type[Settings]:
    module = importlib.import_module(f"services.{service}.settings")
    found: type[Settings] = getattr(module, f"{service.capitalize()}Settings")
    return found
