"""Links in the OpenAPI document: which operations take what an answer says.

An answer's model names them once, by the operations' names, whichever operation gives that answer:

    LINKS: ClassVar[Links] = {"get_cohort": {"cohort_id": "id"}}

A page of such answers has the links of its first item, and `next` where there is a page after it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import BaseRoute

from shared.http.pagination import Page

Links = Mapping[str, Mapping[str, str]]
"""By operation, the name of its endpoint: its parameters, each with the field it is taken from.

A field lies deeper with slashes (`round/id`); what begins with `$` is an expression of OpenAPI's own.
"""


def add_links(document: dict[str, Any], routes: Iterable[BaseRoute]) -> None:
    """Write the links of all answers into an OpenAPI document that was made from these routes."""
    told = [route for route in routes if isinstance(route, APIRoute) and route.include_in_schema]
    ids = {route.name: route.unique_id for route in told}
    for route in told:
        if links := _links_of(route):
            for method in route.methods or ():
                answers = document["paths"][route.path_format][method.lower()]["responses"]
                answers[str(route.status_code or 200)]["links"] = {
                    name: {
                        "operationId": ids[route.name if name == "next" else name],
                        "parameters": {parameter: _expression(field) for parameter, field in parameters.items()},
                    }
                    for name, parameters in links.items()
                }


def _links_of(route: APIRoute) -> Links:
    model = route.response_model
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return {}
    if not issubclass(model, Page):
        return getattr(model, "LINKS", {})
    item = model.__pydantic_generic_metadata__["args"][0]
    of_first = {
        name: {parameter: f"items/0/{field}" for parameter, field in parameters.items()}
        for name, parameters in getattr(item, "LINKS", {}).items()
    }
    return {**of_first, "next": {"cursor": "next"}}


def _expression(field: str) -> str:
    return field if field.startswith("$") else f"$response.body#/{field}"
