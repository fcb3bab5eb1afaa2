"""The OpenAPI documents' links: each names an operation that there is, what that takes, and what the answer has."""

from collections.abc import Mapping
from typing import Any

import pytest

from deploy.services import SERVICES, find_service
from tests.support.links import links, operations

DOCUMENTS = {name: find_service(name).api.openapi() for name in SERVICES}
ALL = [
    pytest.param(service, link, id=f"{link.source.said['operationId']}-{link.name}")
    for service, document in DOCUMENTS.items()
    for link in links(document)
]


@pytest.mark.parametrize(("service", "link"), ALL)
def test_a_link_names_an_operation_its_parameters_and_fields_of_the_answer(service: str, link: Any) -> None:
    document = DOCUMENTS[service]
    target = operations(document)[link.said["operationId"]]
    taken = {each["name"]: each for each in target.said["parameters"]}
    given = link.said["parameters"]
    assert given
    assert given.keys() <= taken.keys()
    needed = {name for name, each in taken.items() if each["in"] == "path"}
    assert needed <= given.keys()
    for expression in given.values():
        kind, _, name = expression.partition(".path.")
        if kind == "$request":
            assert name in {each["name"] for each in link.source.said["parameters"] if each["in"] == "path"}
        else:
            schema = link.answer["content"]["application/json"]["schema"]
            assert _has(document, schema, expression.removeprefix("$response.body#/").split("/"))


@pytest.mark.parametrize("service", SERVICES)
def test_every_list_leads_to_its_next_page_and_every_id_to_what_it_is_of(service: str) -> None:
    document = DOCUMENTS[service]
    led_to = {link.said["operationId"] for link in links(document)}
    for id_, operation in operations(document).items():
        taken = {each["name"]: each["in"] for each in operation.said.get("parameters", [])}
        if "cursor" in taken:
            assert any(link.name == "next" and link.said["operationId"] == id_ for link in links(document)), id_
        if "path" in taken.values() and not set(taken) & _FROM_ELSEWHERE:
            assert id_ in led_to, id_


_FROM_ELSEWHERE = {"token", "event_type"}
"""What no answer gives: a link that came by mail, the type of an event."""


def _has(document: Mapping[str, Any], schema: Mapping[str, Any], path: list[str]) -> bool:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if not path:
        return True
    below = schema.get("items") if path[0] == "0" else schema.get("properties", {}).get(path[0])
    return below is not None and _has(document, below, path[1:])
