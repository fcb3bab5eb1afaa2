"""Write the documents that outsiders build on into docs/build: `python -m deploy.docs`.

`asyncapi.json` and `asyncapi.html` (every event stream) and `openapi-<service>.json` (every API). A running deployment
serves the same ones. The committed schemas in shared/events/schemas are brought up to date too.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from shared.events.contract.asyncapi import asyncapi
from shared.events.contract.asyncapi_page import asyncapi_html
from shared.events.contract.generate import write as write_schemas
from shared.settings import Settings

TARGET = Path(__file__).resolve().parents[1] / "docs" / "build"
SERVICES = ("enrolment", "feedback", "notifications", "portal")

# Nothing is started and nothing is connected to: an app only needs some settings to be built.
_SETTINGS: dict[str, Any] = {
    "environment": "development",
    "database_url": "postgresql://medled@127.0.0.1/medled",
    "kafka_bootstrap": "127.0.0.1:9092",
    "public_url": "https://medled.example.org",
    "oidc_issuer": "https://login.example.org",
    "session_secret": "s" * 32,
    "link_secret": "l" * 32,
    "ballot_secret": "b" * 32,
    "mail_sender": "medled@example.org",
    "smtp_host": "127.0.0.1",
}


def api_of(service: str) -> FastAPI:
    """One service's API and pages, as described by documents: it is connected to nothing."""
    kind: type[Settings] = getattr(import_module(f"services.{service}.settings"), f"{service.capitalize()}Settings")
    app: FastAPI = import_module(f"services.{service}.app").create_api(kind(**_SETTINGS))
    return app


def openapi(service: str) -> dict[str, Any]:
    """The OpenAPI document of one service's API."""
    return api_of(service).openapi()


def write(target: Path = TARGET) -> list[Path]:
    """Write every document; returns their paths."""
    documents = {"asyncapi.json": asyncapi()} | {f"openapi-{name}.json": openapi(name) for name in SERVICES}
    target.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        (target / name).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (target / "asyncapi.html").write_text(asyncapi_html(), encoding="utf-8")
    return [target / name for name in (*documents, "asyncapi.html")]


if __name__ == "__main__":
    sys.stdout.writelines(f"written: {name}\n" for name in [*write_schemas(), *write()])
