"""`make docs` writes what a deployment serves."""

import json
from pathlib import Path

import pytest

from deploy import docs
from deploy.services import SERVICES, find_service
from shared.events.contract.asyncapi import asyncapi


def test_every_document_is_written(tmp_path: Path) -> None:
    written = docs.write(tmp_path / "build")
    assert {path.name for path in written} == {
        "asyncapi.json", "asyncapi.html", "openapi-enrolment.json", "openapi-feedback.json",
        "openapi-notifications.json", "openapi-portal.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "build" / "asyncapi.json").read_text()) == asyncapi()


@pytest.mark.parametrize("service", SERVICES)
def test_an_openapi_document_keeps_to_its_services_addresses(service: str) -> None:
    document = find_service(service).api.openapi()
    assert document["openapi"].startswith("3.1")
    assert document["paths"]
    if service != "portal":  # which owns the root of the origin
        assert all(path.startswith((f"/{service}/", "/health/")) for path in document["paths"])
