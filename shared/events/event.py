"""One definition per public event, and the CloudEvents 1.0 envelope it travels in (Kafka binary mode).

An event class registers itself by naming its type:

    class EnrolmentActivated(EnrolmentFact, type="medled.enrolment.activated.v1"):

`topic`, `source`, `subject`, `key`, `compacted` and `restricted` are given once, on the base class of the topic, and
inherited.
"""

import json
from functools import cache
from typing import Annotated, Any, ClassVar, Self, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from shared.events.envelope import (
    Envelope,
    UndecodableError,
    UnknownTypeError,
    WrongTopicError,
)

REGISTRY: dict[str, "type[Event]"] = {}


class Part(BaseModel):
    """A value inside an event."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Event(BaseModel):
    """A fact in the past tense, frozen. Producers may not send a field that is not defined; consumers ignore it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    type: ClassVar[str]
    topic: ClassVar[str]
    source: ClassVar[str]
    subject_field: ClassVar[str]
    key_field: ClassVar[str]
    compacted: ClassVar[bool] = False
    restricted: ClassVar[bool] = False

    @classmethod
    def __pydantic_init_subclass__(cls, *, type: str = "", **kwargs: Any) -> None:  # noqa: A002 - as in the class statement
        super().__pydantic_init_subclass__(**kwargs)
        if not type:
            return
        for field in (cls.subject_field, cls.key_field):
            if field not in cls.model_fields:
                raise TypeError(f"{cls.__name__}: there is no field {field!r} to be its subject or key")
        if type in REGISTRY:
            raise TypeError(f"{cls.__name__}: the type {type} is already taken by {REGISTRY[type].__name__}")
        REGISTRY[type] = cls

    def __init_subclass__(
        cls,
        *,
        type: str = "",  # noqa: A002 - as in the class statement
        topic: str = "",
        source: str = "",
        subject: str = "",
        key: str = "",
        compacted: bool | None = None,
        restricted: bool | None = None,
    ) -> None:
        super().__init_subclass__()
        cls.type = type
        if topic:
            cls.topic = topic
        if source:
            cls.source = source
        if subject:
            cls.subject_field = subject
            cls.key_field = key or subject
        if compacted is not None:
            cls.compacted = compacted
        if restricted is not None:
            cls.restricted = restricted

    @property
    def subject(self) -> str:
        """The id of the aggregate the fact is about; `ce_sequence` counts the facts of one subject in one topic."""
        return str(getattr(self, self.subject_field))

    @property
    def key(self) -> str:
        """The record key: facts with the same key keep their order. The subject, unless the topic says otherwise."""
        return str(getattr(self, self.key_field))

    @property
    def unit(self) -> UUID | None:
        """The organisation unit at event time, copied to `ce_unit`; filters and scope use it."""
        return cast(UUID | None, self.__dict__.get("unit_id"))

    @property
    def programme(self) -> UUID | None:
        """The programme at event time, copied to `ce_programme`."""
        return cast(UUID | None, self.__dict__.get("programme_id"))

    def encode(self) -> bytes:
        """The record value: UTF-8 JSON."""
        return self.__pydantic_serializer__.to_json(self)

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """The event in a record value; fields that this version does not know are ignored.

        Raises pydantic.ValidationError when the value does not follow the schema.
        """
        return cast(Self, cls.__pydantic_validator__.validate_json(value, extra="ignore"))


def type_of(envelope: Envelope, topic: str) -> type[Event]:
    """The event that a record of this topic says it holds.

    Raises UnknownTypeError when this version has no such event, WrongTopicError when it belongs elsewhere or to
    another.
    """
    event_type = REGISTRY.get(envelope.type)
    if event_type is None:
        raise UnknownTypeError(envelope.type)
    if topic != event_type.topic:
        raise WrongTopicError(f"the topic of {event_type.type} is {event_type.topic}")
    if envelope.source != event_type.source:
        raise WrongTopicError(f"ce_source is not {event_type.source}, whose topic this is")
    return event_type


def decode(envelope: Envelope, value: bytes | None, *, topic: str, key: bytes | None) -> Event | None:
    """The event in a record that lay on `topic` under `key`; None for a tombstone, which only compacted topics carry.

    Raises UnknownTypeError when this version has no such event, UndecodableError when the value is not what its type
    says, and WrongTopicError when topic, source, subject or key is not what type and value say.
    """
    event_type = type_of(envelope, topic)
    if value is None:
        if not event_type.compacted:
            raise UndecodableError("a record without value on a topic that is not compacted")
        _check_tombstone(event_type, envelope.subject, key)
        return None
    try:
        event = event_type.decode(value)
    except ValidationError as error:
        raise UndecodableError(_faults(error)) from None  # the cause would carry the value into logs
    if b"\\u0000" in value and _holds_nul(json.loads(value)):
        raise UndecodableError("a text holds a NUL character, which no table takes")
    subject = event.subject
    if envelope.subject != subject:
        raise WrongTopicError(f"ce_subject is not the value's {event_type.subject_field}")
    if key != (subject if event_type.key_field == event_type.subject_field else event.key).encode():
        raise WrongTopicError(f"the record key is not the value's {event_type.key_field}")
    return event


def _check_tombstone(event_type: type[Event], subject: str, key: bytes | None) -> None:
    if key != subject.encode():
        raise WrongTopicError("the record key of a tombstone is not its ce_subject")
    try:
        known_as = str(_subject_form(event_type).validate_strings(subject))
    except ValidationError:
        known_as = ""
    if known_as != subject:
        raise WrongTopicError(f"ce_subject has not the form of a {event_type.subject_field}")


@cache
def _subject_form(event_type: type[Event]) -> TypeAdapter[Any]:
    field = event_type.model_fields[event_type.subject_field]
    return TypeAdapter(cast(Any, Annotated[field.annotation, field]))


def _holds_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(inner) for key, inner in value.items())
    if isinstance(value, list):
        return any(map(_holds_nul, value))
    return isinstance(value, str) and "\0" in value


def _faults(error: ValidationError) -> str:
    """Which fields are at fault and how, without what they hold."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['type']}" for fault in faults[:5]]
    return "; ".join(shown) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
