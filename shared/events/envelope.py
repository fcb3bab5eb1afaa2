"""The CloudEvents 1.0 envelope in Kafka binary mode: written by the outbox, read by the consumers.

Our own instead of an SDK's because it runs for every record; a conformance test parses what it writes with the SDK.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, Protocol
from uuid import UUID

from shared.events.vocabulary import YEARS

NAMESPACE = "medled."
SOURCES = "/medled/"
CONTENT_TYPE = b"application/json"
MAX_TEXT = 512  # longest header value we read; ours are far shorter
MOST_FACTS = 1_000_000
"""The highest `ce_sequence` there is: more facts than any subject has of one topic. A person whose HR platform said
something new of them every hour would get there in 114 years. Whoever names more would outrank the truth for ever."""


Header = tuple[str, bytes | None]


class UndecodableError(ValueError):
    """This record is not an event that anybody could handle. The message never quotes what it holds."""

    reason = "undecodable"  # of its dead letter


class ForeignError(UndecodableError):
    """This record is an event, but not one of Medled's."""

    reason = "foreign"


class WrongTopicError(UndecodableError):
    """This record is not what its place says: its topic, source, subject or key is another's."""

    reason = "wrong_topic"


class SequenceJumpError(UndecodableError):
    """This record names a place in the order of its subject's facts that its producer cannot have come to."""

    reason = "sequence_jump"


class UnknownTypeError(LookupError):
    """A valid event of a type that this version of Medled, or this consumer, does not take: `type` says which."""

    def __init__(self, type_: str) -> None:
        super().__init__(type_)
        self.type = type_


class Envelope(NamedTuple):
    """What the headers of a record say. A named tuple, since one is made for every record."""

    id: UUID
    type: str
    source: str
    subject: str
    time: datetime
    sequence: int
    unit: UUID | None
    programme: UUID | None
    correlation_id: str
    causation_id: UUID | None
    traceparent: str | None
    tracestate: str | None


def dataschema(event_type: str) -> str:
    """The URN that names the schema of a type: `ce_dataschema`, and the schema's `$id`."""
    return f"urn:medled:schema:{event_type}"


class EventType(Protocol):
    """What the headers say of an event's class."""

    @property
    def type(self) -> str: ...
    @property
    def source(self) -> str: ...


def header_lines(
    event_type: EventType,
    *,
    id: UUID,  # noqa: A002 - the attribute's name
    subject: str,
    time: datetime,
    unit: UUID | None,
    programme: UUID | None,
    correlation_id: str,
    causation_id: UUID | None,
    traceparent: str | None,
    tracestate: str | None,
) -> str:
    """The headers as `name: value` lines without `ce_sequence`, which the outbox appends as the last line.

    `time` must be aware. Raises ValueError when a value holds a line break or another control character.
    """
    type_ = event_type.type
    optional = [
        f"\n{name}: {value}"
        for name, value in (
            ("ce_unit", unit),
            ("ce_programme", programme),
            ("ce_causationid", causation_id),
            ("traceparent", traceparent or None),
            ("tracestate", tracestate if traceparent and tracestate else None),
        )
        if value is not None
    ]
    if not f"{subject}{correlation_id}{traceparent or ''}{tracestate or ''}".isprintable():
        raise ValueError(f"{type_}: a header value holds a control character")
    return (
        f"ce_specversion: 1.0\nce_id: {id}\nce_source: {event_type.source}\nce_type: {type_}\nce_subject: {subject}\n"
        f"ce_time: {_time_told(time)}\nce_dataschema: {dataschema(type_)}\nce_correlationid: {correlation_id}\n"
        f"content-type: application/json{''.join(optional)}"
    )


@lru_cache(maxsize=64)
def _time_told(time: datetime) -> str:
    """One transaction's events share it."""
    if time.tzinfo is None:
        raise ValueError("an event's time needs a time zone")
    return f"{time.astimezone(UTC).isoformat(timespec='microseconds')[:-6]}Z"


def kafka_headers(lines: str) -> list[tuple[str, bytes]]:
    """Stored header lines as the headers of a Kafka record."""
    pairs = (line.partition(": ") for line in lines.split("\n"))
    return [(name, value.encode()) for name, _, value in pairs]


def parse_headers(headers: Iterable[Header]) -> Envelope:
    """What a record's headers say.

    Raises ForeignError for an event that is not Medled's, UndecodableError when a `ce_` header is missing, null, not
    UTF-8 or not what it should be (a time outside the years 1970 to 2200, for one), SequenceJumpError for a sequence
    beyond all that are. Broken trace headers are ignored: tracing never costs a record.
    """
    raw = dict(headers)
    try:
        envelope = _read(raw)
    except (KeyError, AttributeError, ValueError) as error:
        if isinstance(error, UndecodableError):
            raise
        raise UndecodableError(_reason(raw)) from None
    return envelope


def _read(raw: dict[str, bytes | None]) -> Envelope:
    type_, source = _kind(
        raw["ce_specversion"], raw["ce_type"], raw["ce_source"], raw.get("content-type", CONTENT_TYPE)
    )
    id_ = _text(raw["ce_id"])
    return Envelope(
        UUID(id_),
        type_,
        source,
        _text(raw["ce_subject"]),
        _time(raw["ce_time"]),
        _sequence(raw["ce_sequence"]),
        _scope(raw["ce_unit"]) if "ce_unit" in raw else None,
        _scope(raw["ce_programme"]) if "ce_programme" in raw else None,
        _shared_text(raw["ce_correlationid"]) if "ce_correlationid" in raw else id_,
        _scope(raw["ce_causationid"]) if "ce_causationid" in raw else None,
        _trace(raw.get("traceparent")),
        _trace(raw.get("tracestate")),
    )


@lru_cache(maxsize=1024)
def _kind(
    specversion: bytes | None, type_: bytes | None, source: bytes | None, content: bytes | None
) -> tuple[str, str]:
    """Type and source, when they are ours. The same few come with every record, hence the cache."""
    names = _text(type_), _text(source)
    if not (names[0].startswith(NAMESPACE) and names[1].startswith(SOURCES)):
        raise ForeignError("the event's type or source is not Medled's")
    if specversion != b"1.0":
        raise UndecodableError("ce_specversion is not 1.0")
    if content is None or not content.startswith(CONTENT_TYPE):
        raise UndecodableError("content-type is not application/json")
    return names


def _text(value: bytes | None) -> str:
    text = value.decode()  # type: ignore[union-attr] # None is told apart in `_reason`, off the fast path
    if not text.isprintable() or not 0 < len(text) <= MAX_TEXT:
        raise ValueError
    return text


# What one transaction announces, and what an organisation is made of, comes again in record after record.
_shared_text = lru_cache(maxsize=4096)(_text)


@lru_cache(maxsize=4096)
def _scope(value: bytes | None) -> UUID:
    return UUID(_text(value))


@lru_cache(maxsize=4096)
def _time(value: bytes | None) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.tzinfo is None:
        raise UndecodableError("ce_time has no time zone")
    if not YEARS.start <= time.year < YEARS.stop:
        raise UndecodableError("ce_time is in a year that no event of ours happens in")
    return time


@lru_cache(maxsize=4096)
def _sequence(value: bytes | None) -> int:
    sequence = int(_text(value))
    if sequence < 1:
        raise UndecodableError("ce_sequence is out of range")
    if sequence > MOST_FACTS:
        raise SequenceJumpError(f"ce_sequence is above {MOST_FACTS}")
    return sequence


def _trace(value: bytes | None) -> str | None:
    return value.decode("ascii", "replace") if value else None


REQUIRED = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_sequence")


def _reason(raw: dict[str, bytes | None]) -> str:
    """Which header is at fault, and how."""
    missing = [name for name in REQUIRED if name not in raw]
    if missing:
        return f"header missing: {', '.join(missing)}"
    null = [name for name, value in raw.items() if value is None and name.startswith("ce_")]
    if null:
        return f"header without value: {', '.join(null)}"
    for name in (*REQUIRED, "ce_unit", "ce_programme", "ce_correlationid", "ce_causationid"):
        try:
            _ = raw[name].decode() if name in raw else ""  # type: ignore[union-attr] # nulls were told above
        except UnicodeDecodeError:
            return f"header is not UTF-8: {name}"
    return "a ce_ header does not hold what it should"
