"""What a service declares of itself, once and without secrets (ADR 0012).

Processes, migrations, documents, `medled verify` and the embedded stack read it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NoReturn, TypeVar

from fastapi import FastAPI

from shared.http.app import Api, create_app
from shared.messaging.handler import Handler
from shared.postgres.pool import Pool
from shared.runtime.worker import Worker
from shared.service import Service
from shared.settings import Settings
from shared.timers import TimerHandler

S = TypeVar("S", bound=Settings)
Bound = TypeVar("Bound")
Loop = Callable[[], Awaitable[None]]


class NeedsSettings(Generic[S]):
    """Stands in a declaration for what handles events or timers and needs settings: built when the worker is.

    configure: from the service's settings and the worker's pool. It raises ValueError, naming the variable, for a
    setting without which a worker cannot be.
    """

    def __init__(self, configure: Callable[[S, Pool], Any]) -> None:
        self.configure = configure

    async def __call__(self, *_: object) -> NoReturn:
        """Never: a worker calls what `configure` made."""
        raise RuntimeError("declared only; a worker binds it to its settings")


@dataclass(frozen=True, kw_only=True)
class DeclaredService(Service, Generic[S]):
    """All that a service is made of. `loops` are what its worker does besides, for as long as it runs."""

    settings: type[S]
    api: Api
    handlers: Sequence[Handler] = ()
    timers: Mapping[str, TimerHandler] = field(default_factory=dict)
    loops: Sequence[Callable[[S, Pool], Loop]] = ()

    def create_api(self, settings: S) -> FastAPI:
        """Its API process."""
        return create_app(settings, self, self.api)

    def create_worker(self, settings: S, pool: Pool) -> Worker:
        """Its worker process, everything bound to these settings. Raises ValueError, naming one that it lacks."""

        def bound(declared: Bound) -> Bound:
            if not isinstance(declared, NeedsSettings):
                return declared
            made: Bound = declared.configure(settings, pool)
            return made

        return Worker(
            settings,
            pool,
            service=self,
            handlers=[replace(handler, apply=bound(handler.apply)) for handler in self.handlers],
            timers={kind: bound(handle) for kind, handle in self.timers.items()},
            loops=[make(settings, pool) for make in self.loops],
        )
