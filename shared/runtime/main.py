"""The entry of every service's processes: `python -m services.<service> api|worker`."""

import asyncio
import resource
import signal
import sys
from typing import TypeVar

import uvicorn
import uvloop
from fastapi import FastAPI
from pydantic import ValidationError

from shared.http.slow_requests import protocol
from shared.observability import telemetry
from shared.postgres.pool import create_pool
from shared.runtime.declaration import DeclaredService
from shared.runtime.memory import tune_garbage_collector
from shared.settings import Settings

S = TypeVar("S", bound=Settings)

# Longer than proxies keep idle connections (Caddy: 2 minutes, ours: 30 s): whoever closes first must not be the server,
# or a request that is just on its way is broken off.
_KEEP_ALIVE_SECONDS = 130


def main(service: DeclaredService[S]) -> None:
    """Run one process of a service until SIGTERM or SIGINT. Exit status 2 when called or set up wrongly."""
    role = sys.argv[1] if len(sys.argv) == 2 else ""
    if role not in ("api", "worker"):
        sys.exit(f"usage: python -m services.{service.name} api|worker")
    try:
        settings = service.settings()
    except ValidationError as error:
        sys.stderr.write(what_is_wrong(error))
        sys.exit(2)
    telemetry.setup(settings, f"{service.name}-{role}")
    try:
        if role == "api":
            _serve(service.create_api(settings), settings)
        else:
            tune_garbage_collector()
            uvloop.run(_work(service, settings))
    finally:
        telemetry.teardown()


def _serve(app: FastAPI, settings: Settings) -> None:
    _allow_many_connections()
    # Nobody here goes by what a proxy says of its client; so whom a request came from stays who it came from.
    uvicorn.run(
        app, host=settings.host, port=settings.port, loop="uvloop", log_config=None, access_log=False,
        server_header=False, timeout_graceful_shutdown=10, timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        proxy_headers=False, http=protocol(settings.head_seconds),
    )  # fmt: skip


def _allow_many_connections() -> None:
    """As many open files as this process may have; what it is given to begin with is often 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _work(service: DeclaredService[S], settings: S) -> None:
    pool = await create_pool(settings, name=f"medled-{service.name}-worker")
    try:
        running = asyncio.create_task(service.create_worker(settings, pool).run())
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            return
    finally:
        await pool.close()


def what_is_wrong(error: ValidationError) -> str:
    """Each fault by the name of its variable; never its value, which may be a secret."""
    lines = ["Medled cannot start; these settings are missing or wrong:"]
    for fault in error.errors(include_url=False, include_input=False):
        name = f"MEDLED_{'_'.join(map(str, fault['loc'])).upper()}" if fault["loc"] else "settings"
        lines.append(f"  {name}: {fault['msg']}")
    return "\n".join(lines) + "\n"
