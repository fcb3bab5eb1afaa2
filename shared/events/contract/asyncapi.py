"""The platform's event streams as one AsyncAPI 3.0 document, from the registry and `topics.yaml`.

A plain dict rather than FastStream's specification classes: those describe the subscribers of one running application,
while this document describes every topic whoever reads it. A test validates it against AsyncAPI's own JSON Schema.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import UUID

from shared.events.codes import code_sets
from shared.events.contract.schema import example_of, schema_of
from shared.events.envelope import dataschema, header_lines, kafka_headers
from shared.events.event import REGISTRY, Event
from shared.events.topics import Topic, load_topics
from shared.events.vocabulary import REASONS

Json = dict[str, Any]

PROMISE = """\
Every record is a CloudEvents 1.0 event in Kafka binary mode: attributes in `ce_` headers, a JSON value. Delivery is at
least once and in order per key: drop what you have seen by `ce_id`. `ce_sequence` grows by exactly one per event of a
subject in a topic. A record counts only on the topic where this document has its type, with the source, subject and key
that stand there; whoever reads a broker that others may write to leaves the rest alone, as our services do. Ignore
fields you do not know, and skip types you do not know: both may come with any release, while anything else comes as a
new type that ends in a higher version. No personal data in public streams."""

HEADERS: Mapping[str, Json] = {
    "ce_specversion": {"type": "string", "const": "1.0", "description": "Version of CloudEvents."},
    "ce_id": {
        "type": "string",
        "format": "uuid",
        "description": "The event's id, a UUIDv7; the same when redelivered.",
    },
    "ce_source": {"type": "string", "description": "The service that published it; one for each type."},
    "ce_type": {"type": "string", "description": "The event's type, its version last."},
    "ce_subject": {"type": "string", "description": "The id of what the event is about."},
    "ce_time": {"type": "string", "format": "date-time", "description": "When it happened, UTC."},
    "ce_dataschema": {"type": "string", "description": "URN of the value's JSON Schema."},
    "ce_sequence": {"type": "string", "pattern": "^[0-9]+$", "description": "Grows by one per event of the subject."},
    "ce_correlationid": {"type": "string", "description": "Shared by all events of one undertaking."},
    "ce_causationid": {"type": "string", "format": "uuid", "description": "The event that caused this one, if any."},
    "ce_unit": {"type": "string", "format": "uuid", "description": "The organisation unit at event time, if any."},
    "ce_programme": {"type": "string", "format": "uuid", "description": "The programme, if any."},
    "traceparent": {"type": "string", "description": "W3C trace context."},
    "tracestate": {"type": "string", "description": "W3C trace context."},
    "content-type": {"type": "string", "const": "application/json", "description": "Of the value."},
}
REQUIRED_HEADERS = (
    "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_dataschema", "ce_sequence",
    "ce_correlationid",
)  # fmt: skip

DEAD_LETTER_HEADERS: Mapping[str, Json] = {
    "dl_reason": {
        "type": "string",
        "description": "Why it could not be handled, a stable code.",
        "examples": [REASONS[0]],
        "x-medled-codes": "dead_letter_reason",
    },
    "dl_attempts": {"type": "string", "description": "How often it was tried."},
    "dl_handler": {"type": "string", "description": "The handler that gave up; empty when it could not be decoded."},
    "dl_topic": {"type": "string", "description": "Where the record came from."},
    "dl_partition": {"type": "string", "description": "Its partition there."},
    "dl_offset": {"type": "string", "description": "Its offset there."},
    "dl_headers": {"type": "string", "description": "Its headers, JSON pairs with the values in Base64."},
}


@cache
def asyncapi() -> Json:
    """The AsyncAPI document. Treat it as read-only: it is made once."""
    topics = load_topics()
    schemas: Json = {
        "CloudEventHeaders": {
            "type": "object",
            "description": "The headers of every event.",
            "properties": dict(HEADERS),
            "required": list(REQUIRED_HEADERS),
        }
    }
    for event in REGISTRY.values():
        schema = schema_of(event, ref_template="#/components/schemas/{model}")
        schemas |= {name: _explained(name, part) for name, part in schema.pop("$defs", {}).items()}
        schemas[event.__name__] = schema | {"x-medled-dataschema": dataschema(event.type)}
    return {
        "asyncapi": "3.0.0",
        "id": "urn:medled:events",
        "info": _info(),
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "The deployment's Kafka cluster.",
                "variables": {"bootstrap": {"default": "localhost:9092", "description": "Bootstrap servers."}},
            }
        },
        "channels": {name: _channel(topic) for name, topic in topics.items()},
        "operations": _operations(topics),
        "components": {
            "schemas": schemas,
            "x-medled-codes": {
                name: {code: meaning["en"] for code, meaning in meanings.items()}
                for name, meanings in code_sets().items()
            },
            "messages": {type_: _message(event) for type_, event in REGISTRY.items()} | {"dead-letter": _dead_letter()},
        },
    }


_ENUMS = {
    "Practice": "practice", "Group": "group", "Bucket": "bucket", "PersonStatus": "person_status",
    "PrincipalKind": "principal_kind",
}  # fmt: skip


def _explained(name: str, schema: Json) -> Json:
    """An enumeration with the name of the set that explains its values."""
    return schema | {"x-medled-codes": _ENUMS[name]} if "enum" in schema else schema


def _info() -> Json:
    return {
        "title": "Medled event streams",
        "version": _version(),
        "description": PROMISE,
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
    }


def _version() -> str:
    try:
        return version("medled")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0.0.0"


def _events(topic: str) -> list[type[Event]]:
    return [event for event in REGISTRY.values() if event.topic == topic]


def _message_names(topic: str) -> list[str]:
    return ["dead-letter"] if topic.endswith(".dead-letters.v1") else [event.type for event in _events(topic)]


def _channel(topic: Topic) -> Json:
    events = _events(topic.name)
    return {
        "address": topic.name,
        "title": topic.name,
        "description": topic.carries[:1].upper() + topic.carries[1:] + ".",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _message_names(topic.name)},
        "tags": [
            {"name": "restricted", "description": "For Medled's own services alone."}
            if topic.restricted
            else {"name": "public", "description": "Open to consumers with a stream reader's right; no personal data."}
        ],
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {"cleanup.policy": ["compact"]}
                if topic.compacted
                else {"cleanup.policy": ["delete"], "retention.ms": int(topic.configuration["retention.ms"])},
                "bindingVersion": "0.5.0",
            }
        },
        "x-medled-restricted": topic.restricted,
        "x-medled-retention": _retention(topic),
        "x-medled-key": events[0].key_field if events else None,
    }


def _retention(topic: Topic) -> str:
    if topic.compacted:
        return "the newest record of each key"
    return "without limit" if topic.kept_days is None else f"{topic.kept_days} days"


def _operations(topics: Mapping[str, Topic]) -> Json:
    return {
        f"publish.{name}": {
            "action": "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "summary": f"Medled publishes to {name}.",
            "messages": [{"$ref": f"#/channels/{name}/messages/{message}"} for message in _message_names(name)],
        }
        for name in topics
    }


def _message(event: type[Event]) -> Json:
    summary = (event.__doc__ or "").strip().splitlines()[0]
    return {
        "name": event.type,
        "title": event.__name__,
        "summary": summary,
        "contentType": "application/json",
        "correlationId": {"location": "$message.header#/ce_correlationid"},
        "headers": {
            "allOf": [
                {"$ref": "#/components/schemas/CloudEventHeaders"},
                {
                    "type": "object",
                    "properties": {
                        "ce_type": {"const": event.type},
                        "ce_source": {"const": event.source},
                        "ce_subject": {"description": f"The value's `{event.subject_field}`."},
                    },
                },
            ]
        },
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": f"`{event.key_field}`"}}},
        "examples": [_example(event)],
    }


def _example(event: type[Event]) -> Json:
    example = example_of(event)
    id_ = UUID("0198c0de-0000-7000-8000-0000000000ff")
    lines = header_lines(
        event,
        id=id_,
        subject=example.subject,
        time=datetime(2026, 3, 2, 8, tzinfo=UTC),
        unit=example.unit,
        programme=example.programme,
        correlation_id=str(id_),
        causation_id=None,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        tracestate=None,
    )
    return {
        "name": event.__name__,
        "headers": {name: value.decode() for name, value in kafka_headers(f"{lines}\nce_sequence: 1")},
        "payload": example.model_dump(mode="json"),
    }


def _dead_letter() -> Json:
    return {
        "name": "dead-letter",
        "title": "DeadLetter",
        "summary": "A record that a service could not handle: its key and value as they came, and why.",
        "headers": {"type": "object", "properties": dict(DEAD_LETTER_HEADERS), "required": list(DEAD_LETTER_HEADERS)},
    }
