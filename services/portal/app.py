"""The portal, put together: everything it is made of stands on this page."""

from fastapi import FastAPI

from services.portal.assets import add_assets
from services.portal.codes import pages as codes
from services.portal.contract import api as contract
from services.portal.dashboard import api as figures_api
from services.portal.dashboard import handlers as dashboard
from services.portal.dashboard import pages as overview
from services.portal.login import pages as login
from services.portal.problems import pages as problems
from services.portal.proxy.proxy import add_proxy
from services.portal.settings import PortalSettings
from services.portal.stream import api as stream_api
from services.portal.stream import handlers as stream
from services.portal.stream import live
from shared.directory import handlers as directory
from shared.http.app import create_app
from shared.postgres.pool import Pool
from shared.runtime.worker import Worker

SERVICE = "portal"


def create_api(settings: PortalSettings) -> FastAPI:
    """The front page, the open stream, signing in; in the embedded stack also the way to all other services."""
    app = create_app(
        settings,
        service=SERVICE,
        title="Medled portal",
        description="Figures and events of the whole organisation, live, from the public event streams only.",
        routers=[
            overview.router,
            figures_api.router,
            stream_api.router,
            login.router,
            problems.router,
            codes.router,
            contract.router,
        ],
        lifespan=live.running,
    )
    app.state.oidc = login.client_for(settings)
    add_assets(app)
    add_proxy(app, settings.upstreams)
    return app


def create_worker(settings: PortalSettings, pool: Pool) -> Worker:
    """The projections and the stream. People and roles are kept to know who is asking; no figure is made of them."""
    return Worker(
        settings,
        pool,
        service=SERVICE,
        handlers=[*directory.handlers(), *dashboard.handlers(), *stream.handlers()],
        timers=stream.timers(settings.stream_keep),
    )
