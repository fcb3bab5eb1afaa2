"""Following the links of an answer, as its service's OpenAPI document describes them."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import httpx

Document = Mapping[str, Any]


class Operation(NamedTuple):
    """One operation of a document."""

    method: str
    path: str
    said: Mapping[str, Any]


class Link(NamedTuple):
    """One link of the document: its name, what it leads from, which answer has it, and what it says."""

    name: str
    source: Operation
    answer: Mapping[str, Any]
    said: Mapping[str, Any]


def operations(document: Document) -> dict[str, Operation]:
    """Every operation, by its id."""
    return {
        said["operationId"]: Operation(method.upper(), path, said)
        for path, methods in document["paths"].items()
        for method, said in methods.items()
    }


def links(document: Document) -> Iterator[Link]:
    """Every link of a document."""
    for operation in operations(document).values():
        for answer in operation.said["responses"].values():
            for name, said in answer.get("links", {}).items():
                yield Link(name, operation, answer, said)


async def follow(
    document: Document, client: httpx.AsyncClient, answer: httpx.Response, name: str, **sent: Any
) -> httpx.Response:
    """Do what the link of an answer leads to; `sent` is the request's body, where it takes one."""
    [link] = [each for each in links(document) if each.name == name and _is_of(each.source, answer.request)]
    target = operations(document)[link.said["operationId"]]
    values = {parameter: _value(expression, answer) for parameter, expression in link.said["parameters"].items()}
    in_path = {each["name"] for each in target.said["parameters"] if each["in"] == "path"}
    path = target.path.format(**{parameter: values[parameter] for parameter in in_path})
    query = {parameter: value for parameter, value in values.items() if parameter not in in_path}
    return await client.request(target.method, path, params=query, json=sent or None)


def _is_of(operation: Operation, request: httpx.Request) -> bool:
    given, asked = operation.path.split("/"), request.url.path.split("/")
    return (operation.method, len(given)) == (request.method, len(asked)) and all(
        part == there or part.startswith("{") for part, there in zip(given, asked, strict=True)
    )


def _value(expression: str, answer: httpx.Response) -> str:
    value = answer.json()
    for step in expression.removeprefix("$response.body#/").split("/"):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return str(value)
