"""The portal's own static files, under addresses that change with their content."""

import hashlib
from functools import cache
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

_FOLDER = Path(__file__).parent / "static"


def add_assets(app: FastAPI) -> None:
    """Serve them, and let templates ask for their address: `asset("live.js")`."""
    app.mount("/portal/static", StaticFiles(directory=_FOLDER), name="portal-static")
    app.state.web.environment.globals["asset"] = _address


@cache
def _address(name: str) -> str:
    digest = hashlib.sha256((_FOLDER / name).read_bytes()).hexdigest()[:12]
    return f"/portal/static/{name}?v={digest}"
