"""Write the documents that outsiders build on into docs/build: `python -m deploy.docs`.

`asyncapi.json` and `asyncapi.html` (every event stream) and `openapi-<service>.json` (every API). A running deployment
serves the same ones. The committed schemas in shared/events/schemas are brought up to date too.
"""

import json
import sys
from pathlib import Path

from deploy.services import SERVICES, find_service
from shared.events.contract.asyncapi import asyncapi
from shared.events.contract.asyncapi_page import asyncapi_html
from shared.events.contract.generate import write as write_schemas

TARGET = Path(__file__).resolve().parents[1] / "docs" / "build"


def write(target: Path = TARGET) -> list[Path]:
    """Write every document; returns their paths."""
    documents = {"asyncapi.json": asyncapi()} | {
        f"openapi-{name}.json": find_service(name).api.openapi() for name in SERVICES
    }
    target.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        (target / name).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (target / "asyncapi.html").write_text(asyncapi_html(), encoding="utf-8")
    return [target / name for name in (*documents, "asyncapi.html")]


if __name__ == "__main__":
    sys.stdout.writelines(f"written: {name}\n" for name in [*write_schemas(), *write()])
