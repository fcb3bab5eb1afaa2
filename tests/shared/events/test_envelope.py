"""The headers of a record: what we write is what we read, and everything else is refused with a reason."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from shared.events import (
    REGISTRY,
    AccessState,
    CohortOpened,
    EnrolmentActivated,
    EnrolmentRequested,
    Event,
    PersonState,
    UnitState,
)
from shared.events.contract.schema import example_of
from shared.events.envelope import (
    MOST_FACTS,
    ForeignError,
    Header,
    SequenceJumpError,
    UndecodableError,
    UnknownTypeError,
    WrongTopicError,
    header_lines,
    kafka_headers,
    parse_headers,
)
from shared.events.event import decode
from shared.ids import new_id

EVENTS = pytest.mark.parametrize("event", REGISTRY.values(), ids=REGISTRY)
NOW = datetime(2026, 3, 2, 8, 0, 0, 1500, tzinfo=UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def lines(event: type[Event] = EnrolmentActivated, **changes: Any) -> str:
    values: dict[str, Any] = {
        "id": new_id(), "subject": "s1", "time": NOW, "unit": new_id(), "programme": new_id(),
        "correlation_id": "c1", "causation_id": new_id(), "traceparent": TRACE, "tracestate": "v=1",
    }  # fmt: skip
    return header_lines(event, **(values | changes)) + "\nce_sequence: 7"


def headers(**changes: bytes | None) -> list[Header]:
    """The headers of a good record, changed: names with - written as _; a value b"" leaves it out."""
    good: dict[str, bytes | None] = dict(kafka_headers(lines()))
    good |= {"content-type" if name == "content_type" else name: value for name, value in changes.items()}
    return [(name, value) for name, value in good.items() if value != b""]


def read(event: type[Event], value: bytes, subject: str = "s1") -> Event | None:
    """The event in a record of this type, which lies where it belongs."""
    envelope = parse_headers(kafka_headers(lines(event, subject=subject)))
    return decode(envelope, value, topic=event.topic, key=subject.encode())


def test_what_is_written_is_what_is_read() -> None:
    id_, unit, programme, cause = new_id(), new_id(), new_id(), new_id()
    envelope = parse_headers(kafka_headers(lines(id=id_, unit=unit, programme=programme, causation_id=cause)))
    assert envelope._asdict() == {
        "id": id_, "type": "medled.enrolment.activated.v1", "source": "/medled/enrolment", "subject": "s1",
        "time": NOW, "sequence": 7, "unit": unit, "programme": programme, "correlation_id": "c1",
        "causation_id": cause, "traceparent": TRACE, "tracestate": "v=1",
    }  # fmt: skip


def test_what_an_event_does_not_have_is_left_out() -> None:
    text = lines(unit=None, programme=None, causation_id=None, traceparent=None, tracestate="v=1")
    assert "None" not in text
    envelope = parse_headers(kafka_headers(text))
    assert (envelope.unit, envelope.programme, envelope.causation_id) == (None, None, None)
    assert (envelope.traceparent, envelope.tracestate) == (None, None)


def test_times_are_written_in_utc() -> None:
    text = lines(time=NOW.astimezone(timezone(timedelta(hours=2))))
    assert "ce_time: 2026-03-02T08:00:00.001500Z" in text
    with pytest.raises(ValueError, match="time zone"):
        lines(time=NOW.replace(tzinfo=None))


@pytest.mark.parametrize("value", ["a\nce_type: medled.forged.v1", "a\rb", "a\0b"])
@pytest.mark.parametrize("name", ["subject", "correlation_id", "tracestate"])
def test_a_value_cannot_forge_another_header(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        lines(EnrolmentActivated, **{name: value})


@EVENTS
def test_the_cloudevents_sdk_reads_every_event_type(event: type[Event]) -> None:
    example, id_ = example_of(event), new_id()
    written = dict(kafka_headers(lines(event, id=id_, subject=example.subject, unit=example.unit)))
    read = from_binary(KafkaMessage(headers=written, key=example.key, value=example.encode()), JSONFormat())
    assert read.get_specversion() == "1.0"
    assert (read.get_id(), read.get_type(), read.get_source()) == (str(id_), event.type, event.source)
    assert (read.get_subject(), read.get_time()) == (example.subject, NOW)
    assert (read.get_dataschema(), read.get_datacontenttype()) == (
        f"urn:medled:schema:{event.type}",
        "application/json",
    )
    assert read.get_extension("sequence") == "7"
    assert read.get_extension("correlationid") == "c1"
    assert read.get_extension("unit") == (str(example.unit) if example.unit else None)
    assert read.get_data() == example.model_dump(mode="json")


@EVENTS
def test_a_record_becomes_the_event_it_was(event: type[Event]) -> None:
    example = example_of(event)
    envelope = parse_headers(kafka_headers(lines(event, subject=example.subject)))
    assert decode(envelope, example.encode(), topic=event.topic, key=example.key.encode()) == example


@pytest.mark.parametrize(
    "name", ["ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "ce_sequence", "ce_specversion"]
)
@pytest.mark.parametrize("value", [b"", None, b"\xff\xfe"])
def test_a_required_header_that_is_missing_null_or_not_utf8_is_named(name: str, value: bytes | None) -> None:
    with pytest.raises(UndecodableError, match=name):
        parse_headers(headers(**{name: value}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"ce_id": b"42"}, {"ce_time": b"yesterday"}, {"ce_time": b"2026-03-02T08:00:00"}, {"ce_sequence": b"x"},
        {"ce_sequence": b"0"}, {"ce_sequence": b"-1"},
        {"ce_unit": b"north"}, {"ce_unit": None}, {"ce_programme": b"\xff"}, {"ce_causationid": b"x"},
        {"ce_correlationid": None}, {"ce_correlationid": b"a\0b"}, {"ce_subject": b"a\0b"}, {"ce_subject": b"a" * 600},
        {"ce_specversion": b"0.3"}, {"content_type": b"application/avro"}, {"content_type": None},
    ],
)  # fmt: skip
def test_a_header_that_does_not_hold_what_it_should_is_refused(wrong: dict[str, bytes | None]) -> None:
    with pytest.raises(UndecodableError) as refusal:
        parse_headers(headers(**wrong))
    assert not isinstance(refusal.value, ForeignError)


@pytest.mark.parametrize("year", [b"0001", b"1969", b"2201", b"9999"])
def test_a_time_that_arithmetic_would_lead_out_of_the_calendar_is_refused_without_being_quoted(year: bytes) -> None:
    with pytest.raises(UndecodableError, match="ce_time") as refusal:
        parse_headers(headers(ce_time=year + b"-12-31T23:59:59.999999+14:00"))
    assert year.decode() not in str(refusal.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"approve_before": "9999-12-31T23:59:59.999999Z"},  # Postgres would give it back as infinity, without a zone
        {"approve_before": "0001-01-01T00:00:00Z"},
        {"approve_before": "0001-01-01T00:00:00+10:00"},
        {"approve_before": "2200-12-31T23:30:00-05:00"},  # in UTC it is the next year
    ],
)
def test_a_moment_outside_the_calendar_is_no_event(wrong: dict[str, str]) -> None:
    value = json.dumps(json.loads(example_of(EnrolmentRequested).encode()) | wrong).encode()
    with pytest.raises(UndecodableError, match="approve_before"):
        read(EnrolmentRequested, value)


@pytest.mark.parametrize("name", ["a\\u0000b", "Race\\r\\nBcc: x", "\\u202eright to left"])
def test_a_name_that_no_table_and_no_page_takes_is_no_event(name: str) -> None:
    example = example_of(CohortOpened)
    assert isinstance(example, CohortOpened)
    value = example.encode().replace(example.name.encode(), name.encode())
    with pytest.raises(UndecodableError):
        read(CohortOpened, value)
    person = example_of(PersonState)
    assert isinstance(person, PersonState)
    value = person.encode().replace(person.given_name.encode(), b"a\\u0000b")
    with pytest.raises(UndecodableError, match="NUL"):
        read(PersonState, value)
    backslash = person.encode().replace(person.given_name.encode(), b"a\\\\u0000b")
    known = read(PersonState, backslash, subject=person.subject)
    assert isinstance(known, PersonState)
    assert known.given_name == "a\\u0000b"


@pytest.mark.parametrize("time", [b"1970-01-01T00:00:00Z", b"2200-12-31T23:59:59.999999Z"])
def test_the_first_and_the_last_moment_of_an_event_are_read(time: bytes) -> None:
    assert parse_headers(headers(ce_time=time)).time == datetime.fromisoformat(time.decode())


@pytest.mark.parametrize(
    "wrong", [{"ce_type": b"com.example.thing.v1"}, {"ce_source": b"/other/system"}, {"ce_type": b"medledx.a.v1"}]
)
def test_an_event_of_somebody_else_is_foreign(wrong: dict[str, bytes | None]) -> None:
    with pytest.raises(ForeignError):
        parse_headers(headers(**wrong))


@pytest.mark.parametrize("value", [None, b"\xff\xfe", b"nonsense"])
def test_broken_trace_headers_and_unknown_headers_cost_nothing(value: bytes | None) -> None:
    envelope = parse_headers([*headers(traceparent=value, tracestate=value), ("x-other", value)])
    assert envelope.sequence == 7


def test_a_record_without_any_headers_is_refused() -> None:
    with pytest.raises(UndecodableError, match="header missing: ce_specversion"):
        parse_headers([])


def test_a_type_of_ours_that_is_not_known_here_is_told_apart() -> None:
    envelope = parse_headers(headers(ce_type=b"medled.mandate.granted.v9"))
    with pytest.raises(UnknownTypeError) as unknown:
        decode(envelope, b"{}", topic="medled.mandates.v1", key=None)
    assert unknown.value.type == "medled.mandate.granted.v9"


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"\xff", b"{}", b'{"promoted": "Anna Berg"}', None])
def test_a_value_that_is_not_what_its_type_says_is_refused_without_being_quoted(value: bytes | None) -> None:
    with pytest.raises(UndecodableError) as refusal:
        decode(parse_headers(headers()), value, topic=EnrolmentActivated.topic, key=None)
    assert "Anna" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_only_a_compacted_topic_carries_tombstones() -> None:
    person = str(new_id())
    gone = parse_headers(kafka_headers(lines(PersonState, subject=person)))
    assert decode(gone, None, topic=PersonState.topic, key=person.encode()) is None
    with pytest.raises(UndecodableError, match="not compacted"):
        decode(parse_headers(headers()), None, topic=EnrolmentActivated.topic, key=None)


@EVENTS
def test_a_record_counts_only_on_its_types_topic_from_its_source_under_its_subject_and_key(event: type[Event]) -> None:
    example = example_of(event)
    good, key = dict(kafka_headers(lines(event, subject=example.subject))), example.key.encode()
    other = next(each.topic for each in REGISTRY.values() if each.topic != event.topic)
    for changed, at, under, told in (
        ({}, other, key, "the topic of"),
        ({"ce_source": b"/medled/somebody"}, event.topic, key, "ce_source"),
        ({"ce_subject": b"another"}, event.topic, key, f"ce_subject is not the value's {event.subject_field}"),
        ({}, event.topic, str(new_id()).encode(), f"the record key is not the value's {event.key_field}"),
        ({}, event.topic, None, "the record key"),
        ({}, event.topic, b"\xff", "the record key"),
    ):
        envelope = parse_headers((good | changed).items())
        with pytest.raises(WrongTopicError, match=told):
            decode(envelope, example.encode(), topic=at, key=under)


@pytest.mark.parametrize("event", [PersonState, UnitState, AccessState])
def test_a_tombstone_counts_only_under_the_subject_it_names_and_in_the_form_of_one(event: type[Event]) -> None:
    subject = example_of(event).subject
    for named, under, told in (
        (subject, str(new_id()), "key of a tombstone"),
        (subject, None, "key of a tombstone"),
        ("every one", "every one", "form"),
        (subject.upper() + "/", subject.upper() + "/", "form"),
    ):
        envelope = parse_headers(kafka_headers(lines(event, subject=named)))
        with pytest.raises(WrongTopicError, match=told):
            decode(envelope, None, topic=event.topic, key=under.encode() if under else None)


@pytest.mark.parametrize("sequence", [MOST_FACTS + 1, 2**63 - 1, 2**80])
def test_a_sequence_that_no_producer_comes_to_is_told_apart(sequence: int) -> None:
    assert parse_headers(headers(ce_sequence=str(MOST_FACTS).encode())).sequence == MOST_FACTS
    with pytest.raises(SequenceJumpError):
        parse_headers(headers(ce_sequence=str(sequence).encode()))
