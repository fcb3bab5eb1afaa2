"""The portal: everything it is made of stands on this page."""

from pathlib import Path

from fastapi import FastAPI

from services.portal.codes import pages as codes
from services.portal.contract import api as contract
from services.portal.dashboard import handlers as dashboard
from services.portal.login import pages as login
from services.portal.overview import api as figures_api
from services.portal.overview import pages as overview
from services.portal.overview.assets import add_assets
from services.portal.problems import pages as problems
from services.portal.proxy.proxy import add_proxy
from services.portal.settings import PortalSettings
from services.portal.stream import api as stream_api
from services.portal.stream import handlers as stream
from services.portal.stream import live
from shared.directory import handlers as directory
from shared.http.app import Api
from shared.runtime.declaration import DeclaredService


def _prepare(app: FastAPI, settings: PortalSettings) -> None:
    app.state.oidc = login.client_for(settings)
    add_assets(app)
    add_proxy(app, settings.upstreams)


SERVICE = DeclaredService(
    name="portal",
    folder=Path(__file__).parent,
    stands_on=[directory.MIGRATIONS],
    settings=PortalSettings,
    # The front page, the open stream, signing in; in the embedded stack also the way to all other services.
    api=Api(
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
        prepare=_prepare,
    ),
    # The projections and the stream. People and roles are kept to know who is asking; no figure is made of them.
    handlers=[*directory.handlers(), *dashboard.handlers(), *stream.handlers()],
    timers=stream.timers(),
)
