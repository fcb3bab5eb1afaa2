"""The edge, attacked from outside: what is not what it says, takes all the room, or claims to be somebody else's."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from fastapi import FastAPI

from deploy.stack import SERVICES
from shared.access import Principal, Role
from shared.auth import optional_principal, principal
from shared.ids import new_id
from shared.settings import Settings
from tests.support.openapi import fitting, json_bodies, of_wrong_type, replaced
from tests.support.serving import client_of
from tests.support.settings import make_settings

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
SECRETS = {"link_secret": "l" * 32, "ballot_secret": "b" * 32, "mail_sender": "m@example.org", "smtp_host": "127.0.0.1"}


def api_of(service: str, **settings: Any) -> FastAPI:
    """A service's API without its database; whoever asks holds every role."""
    kind: type[Settings] = getattr(import_module(f"services.{service}.settings"), f"{service.capitalize()}Settings")
    app: FastAPI = import_module(f"services.{service}.app").create_api(
        make_settings(kind, NOWHERE, **SECRETS, **settings)
    )
    anybody = Principal("person", "person:x", new_id(), "X", roles=dict.fromkeys(Role))
    app.dependency_overrides |= {principal: lambda: anybody, optional_principal: lambda: anybody}
    return app


def wrong_bodies(app: FastAPI) -> Iterator[tuple[str, str, str, Any]]:
    """Method, path, the field at fault, and a body that fits but for it."""
    document = app.openapi()
    for method, path, schema in json_bodies(document):
        sound = fitting(document, schema)
        for place, value in of_wrong_type(document, schema):
            yield method, path, ".".join(map(str, place)), replaced(sound, place, value)


@pytest.mark.parametrize("service", SERVICES)
async def test_no_api_takes_a_value_of_one_json_type_for_another(service: str) -> None:
    app = api_of(service)
    taken: list[tuple[str, str, Any]] = []
    async with client_of(app) as client:
        for method, path, schema in json_bodies(app.openapi()):
            answer = await client.request(method, path, json=fitting(app.openapi(), schema))
            assert answer.status_code != 422, f"{method} {path} is not tried with what fits: {answer.text}"
        for method, path, field, body in wrong_bodies(app):
            answer = await client.request(method, path, json=body)
            named = [error["field"] for error in answer.json().get("errors", [])]
            if answer.status_code != 422 or not any(name.startswith(field or "body") for name in named):
                taken.append((f"{method} {path}", field, body))
            assert all(error["remedy"] for error in answer.json().get("errors", []))
    assert taken == []
