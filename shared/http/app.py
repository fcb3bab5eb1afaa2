"""The HTTP side that all services share: the app they build on, and what their endpoints need at hand."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.clock import Clock
from shared.errors import ProblemError
from shared.http.foreign_trace import LinksForeignTrace, without_foreign_trace
from shared.http.health import health_router
from shared.http.idempotency import AlreadyAnsweredError, on_replay
from shared.http.links import add_links
from shared.http.methods import Methods
from shared.http.middleware import BodyTooLarge, RelativeRedirects, SecurityHeaders, SingleHost, UnhandledErrors
from shared.http.problem_response import (
    MEDIA_TYPE,
    FieldErrorBody,
    ProblemBody,
    on_http_exception,
    on_problem,
    on_validation_error,
)
from shared.http.slow_requests import BodyTimeout
from shared.observability import telemetry
from shared.postgres.pool import create_pool
from shared.security.oidc import TokenVerifier
from shared.service import Service
from shared.settings import Settings
from shared.web.render import STATIC, Web

MIB = 1024 * 1024
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Api:
    """What an API process serves, as its service declares it.

    lifespan: runs inside the pool's, for what else is held open. prepare: is given the app and its settings when a
    process builds it, for what is not a router.
    """

    title: str
    description: str
    routers: Sequence[APIRouter]
    version: str = "1"
    lifespan: Lifespan | None = None
    prepare: Callable[[FastAPI, Any], None] | None = None

    def openapi(self) -> dict[str, Any]:
        """The document that its processes serve, without any settings."""
        app = FastAPI(title=self.title, description=self.description, version=self.version)
        for router in self.routers:
            app.include_router(router)
        return _openapi(app, self.routers)


def create_app(settings: Settings, service: Service, api: Api) -> FastAPI:
    """An API process: `api` with problem details, limits, tracing, health, OpenAPI and the shared look around it.

    `app.state` holds `settings`, `pool`, `clock`, `web` and `token_verifier`. A body may have 1 MiB; a route that takes
    more says so itself (`max_body_size=64 * MIB`).
    """

    @asynccontextmanager
    async def alive(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.pool = await create_pool(settings, name=f"medled-{service.name}-api")
            stack.push_async_callback(app.state.pool.close)
            if api.lifespan is not None:
                await stack.enter_async_context(api.lifespan(app))
            yield

    app = _App(
        title=api.title,
        description=api.description,
        version=api.version,
        openapi_url=f"/{service.name}/openapi.json",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=alive,
        max_body_size=MIB,
        middleware=[Middleware(UnhandledErrors), Middleware(Methods)],
        # Spans are named by route templates; `telemetry` drops the raw path, which may hold a link's token.
        telemetry={"tracer_provider": telemetry.tracer_provider(), "meter_provider": telemetry.meter_provider(),
                   "operation_spans": False, "logs": False, "exclude": _is_health},
    )  # fmt: skip
    app.state.settings = settings
    app.state.clock = Clock(settings.clock_file)
    app.state.web = Web(service.page_folders)
    app.state.token_verifier = TokenVerifier(settings.oidc_issuer, settings.oidc_audience)
    app.exception_handler(ProblemError)(on_problem)
    app.exception_handler(HTTPException)(on_http_exception)
    app.exception_handler(RequestValidationError)(on_validation_error)
    app.exception_handler(AlreadyAnsweredError)(on_replay)
    app.include_router(health_router(service))
    for router in api.routers:
        app.include_router(router)
    app.mount("/static", _Static(directory=STATIC), name="static")
    app.openapi = lambda: _openapi(app, api.routers)  # type: ignore[method-assign] # the way FastAPI documents
    if api.prepare is not None:
        api.prepare(app, settings)
    return app


class _App(FastAPI):
    """FastAPI with our headers around everything it answers, also by itself."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        trusted = self.state.settings.trusted_networks
        await super().__call__(without_foreign_trace(scope, trusted), receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        settings: Settings = self.state.settings
        in_time = BodyTimeout(super().build_middleware_stack(), seconds=settings.body_seconds)
        inner = SingleHost(RelativeRedirects(BodyTooLarge(in_time)))
        return LinksForeignTrace(SecurityHeaders(inner, public_url=settings.public_url, issuer=settings.oidc_issuer))


def _is_health(scope: Scope) -> bool:
    return "/health/" in scope.get("path", "")


class _Static(StaticFiles):
    """Files whose address carries their version, so they may be kept."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "public, max-age=86400"
        return response


def _openapi(app: FastAPI, routers: Sequence[APIRouter]) -> dict[str, Any]:
    """The document of FastAPI, with what leads on from each answer, and every failure as the problem details it is."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes,
        )  # fmt: skip
        _, problems = models_json_schema(
            [(ProblemBody, "serialization"), (FieldErrorBody, "serialization")],
            ref_template="#/components/schemas/{model}",
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= problems["$defs"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        answer = {"schema": {"$ref": "#/components/schemas/ProblemBody"}}
        for operation in (operation for path in document["paths"].values() for operation in path.values()):
            failure = {"description": "What is wrong and what to do.", "content": {MEDIA_TYPE: answer}}
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = failure
        add_links(document, [route for router in routers for route in router.routes])
        app.openapi_schema = document
    return app.openapi_schema
