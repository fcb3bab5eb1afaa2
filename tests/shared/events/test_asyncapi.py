"""The AsyncAPI document: valid by AsyncAPI's own schema, complete, and readable as a page."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from shared.events import REGISTRY
from shared.events.contract.asyncapi import asyncapi
from shared.events.contract.asyncapi_page import asyncapi_html
from shared.events.envelope import parse_headers
from shared.events.event import decode
from shared.events.topics import load_topics

# AsyncAPI's published schema of version 3.0.0 (Apache-2.0), without its descriptions.
SPECIFICATION = Path(__file__).parents[2] / "data" / "asyncapi-3.0.0.schema.json"


@pytest.fixture(scope="module")
def validator() -> jsonschema_rs.Draft7Validator:
    return jsonschema_rs.Draft7Validator(json.loads(SPECIFICATION.read_text()))


def test_the_document_is_valid_asyncapi(validator: jsonschema_rs.Draft7Validator) -> None:
    assert [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(asyncapi())] == []


def test_the_validator_would_catch_a_document_that_is_not(validator: jsonschema_rs.Draft7Validator) -> None:
    broken = json.loads(json.dumps(asyncapi()))
    broken["operations"]["publish.medled.units.v1"]["action"] = "shout"
    assert not validator.is_valid(broken)


def test_every_reference_leads_somewhere() -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                target: Any = asyncapi()
                for step in node["$ref"].removeprefix("#/").split("/"):
                    target = target[step]
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(asyncapi())


def test_every_topic_is_a_channel_with_its_marks() -> None:
    channels = asyncapi()["channels"]
    assert channels.keys() == load_topics().keys()
    people, enrolment = channels["medled.people.v1"], channels["medled.enrolment.v1"]
    assert (people["x-medled-restricted"], people["x-medled-key"]) == (True, "person_id")
    assert people["bindings"]["kafka"]["topicConfiguration"] == {"cleanup.policy": ["compact"]}
    assert (enrolment["x-medled-restricted"], enrolment["x-medled-retention"]) == (False, "without limit")
    letters = channels["medled.feedback.dead-letters.v1"]
    assert letters["x-medled-retention"] == f"{load_topics()['medled.feedback.dead-letters.v1'].kept_days} days"
    assert letters["bindings"]["kafka"]["topicConfiguration"]["retention.ms"] == 90 * 86_400_000
    assert channels["medled.feedback.dead-letters.v1"]["messages"].keys() == {"dead-letter"}


def test_every_event_is_a_message_of_its_topic() -> None:
    for type_, event in REGISTRY.items():
        assert type_ in asyncapi()["channels"][event.topic]["messages"]


def test_the_examples_can_be_read_as_the_records_they_stand_for() -> None:
    for type_ in REGISTRY:
        example = asyncapi()["components"]["messages"][type_]["examples"][0]
        envelope = parse_headers([(name, value.encode()) for name, value in example["headers"].items()])
        key = str(example["payload"][REGISTRY[type_].key_field]).encode()
        event = decode(envelope, json.dumps(example["payload"]).encode(), topic=REGISTRY[type_].topic, key=key)
        assert event is not None
        assert (event.type, event.subject) == (type_, envelope.subject)


def test_the_page_is_well_formed_and_shows_every_event_field_and_header() -> None:
    page = _Page()
    page.feed(asyncapi_html())
    assert page.open == []
    shown = " ".join(page.text)
    for type_, event in REGISTRY.items():
        assert type_ in shown
        assert all(field in shown for field in event.model_fields)
    assert {f"#{name}" for name in load_topics()} <= page.links
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= page.ids
    assert "<script" not in asyncapi_html()


class _Page(HTMLParser):
    """Follows the elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.links: set[str] = set()
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        given = dict(attrs)
        self.links |= {given["href"] or ""} if "href" in given else set()
        if "id" in given:
            assert given["id"] not in self.ids, "an id stands twice"
            self.ids.add(given["id"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
