"""`medled events`: what happens, as anybody who reads the topics sees it."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.output import DataOption, fail, note

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

app = typer.Typer(help="The event streams.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to print, and how many; None: all."""

    types: Sequence[str]
    subject: str | None
    limit: int | None
    follow: bool
    from_beginning: bool

    def takes(self, type_: str, subject: str) -> bool:
        """No types named: every one."""
        return (not self.types or type_ in self.types) and self.subject in (None, subject)


@app.callback()
def _events() -> None:
    """Without this, the only command would be the group itself."""


@app.command()
def tail(
    *,
    topic: Annotated[
        list[str] | None, typer.Option(help="Only these topics, restricted ones too; by default all public ones.")
    ] = None,
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only these types, such as milestone.reached."),
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Only events about this id.")] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Begin with the oldest event, not with the next one.")
    ] = False,
    follow: Annotated[bool, typer.Option(help="Go on until Ctrl-C, or end with the newest event there is.")] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    broker: Annotated[
        str | None, typer.Option(help="Bootstrap address [MEDLED_KAFKA_* settings, else the embedded stack's].")
    ] = None,
    data: DataOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document a line, with what the event says.")
    ] = False,
) -> None:
    """Print events as they come, one a line: time, type, subject, sequence and trace id. Reads only, joins no group.

    What no service would take (nobody can read it, or its topic, source, subject or key is another's) is told as such.

    Exit status: 0, 1 when the broker cannot be reached, 2 when a topic or a type is named that there is not.
    """
    from aiokafka.errors import KafkaError

    from deploy.commands.topics import kafka_client

    types = _types(type_ or [])
    topics, wanted = _topics(topic or [], types), EventFilter(types, subject, limit, follow, from_beginning)
    client = kafka_client(broker, data)
    arguments = {"bootstrap_servers": client} if isinstance(client, str) else client
    try:
        asyncio.run(_tail(arguments, topics, wanted, as_json))
    except (KafkaError, TimeoutError) as error:
        fail(f"The broker cannot be read: {error or type(error).__name__}")
    except KeyboardInterrupt:
        return
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _topics(named: Sequence[str], types: Sequence[str]) -> list[str]:
    """In full: those named, else those of the types that were named, else all public ones."""
    from shared.events import REGISTRY

    known = {kind.topic: kind.restricted for kind in REGISTRY.values()}
    full = [name if name in known else f"medled.{name}.v1" for name in named]
    for name, given in zip(full, named, strict=True):
        if name not in known:
            fail(f"There is no topic of events {given}; there are {', '.join(known)}.", status=2)
    full = full or list(dict.fromkeys(REGISTRY[name].topic for name in types))
    return full or [name for name, restricted in known.items() if not restricted]


def _types(named: Sequence[str]) -> list[str]:
    """In full, a short name in all its versions. An unknown one would never come: a typo looks like silence."""
    from shared.events import REGISTRY

    short: dict[str, list[str]] = {}
    for name in REGISTRY:
        short.setdefault(_short(name), []).append(name)
    for name in named:
        if name not in REGISTRY and name not in short:
            near = get_close_matches(_short(name), short)
            others = ", ".join(each for each in short if each not in near)
            there_are = f"near it are {', '.join(near)}; others are {others}" if near else f"there are {others}"
            fail(f"There is no type of event {name}; {there_are}.", status=2)
    return [full for name in named for full in short.get(name, [name])]


def _short(type_: str) -> str:
    return re.sub(r"^medled\.|\.v\d+$", "", type_)


async def _tail(client: dict[str, Any], topics: Sequence[str], wanted: EventFilter, as_json: bool) -> None:
    from shared.messaging.tolerant_fetch import partitions_behind, read_all

    async with _consumer(client, topics, wanted) as (consumer, places):
        ends = await consumer.end_offsets(places)
        if not wanted.from_beginning:
            await _skip_to_the_end(consumer, places)
        if wanted.follow and not wanted.from_beginning:
            note(f"Waiting for events on {', '.join(topics)} (Ctrl-C ends it)")
        printed = 0
        while wanted.follow or await partitions_behind(consumer, places, ends):
            for record in sorted(await read_all(consumer, places, timeout_ms=500), key=lambda one: one.timestamp):
                line = _line(record, wanted, as_json)
                if line is None:
                    continue
                typer.echo(line)
                printed += 1
                if printed == wanted.limit:
                    return
        if not printed:
            note("No such event.")


async def _skip_to_the_end(consumer: "AIOKafkaConsumer", places: "Sequence[TopicPartition]") -> None:
    """The end that the embedded broker tells of lies too early; a fetch brings the right one."""
    from shared.messaging.tolerant_fetch import read_all

    await read_all(consumer, places, timeout_ms=500)
    for place in places:
        consumer.seek(place, max(await consumer.position(place), consumer.highwater(place) or 0))


@asynccontextmanager
async def _consumer(
    client: dict[str, Any], topics: Sequence[str], wanted: EventFilter
) -> "AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]":
    """A reader placed at the beginning or at the end of these topics."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    from shared.messaging.topic_admin import partition_counts

    counts = await partition_counts(client, wait=10)
    places = [TopicPartition(name, number) for name in topics for number in range(counts.get(name, 0))]
    if not places:
        fail("The broker has no topics of events yet; make them with `medled topics`.")
    consumer = AIOKafkaConsumer(**client, group_id=None, enable_auto_commit=False, isolation_level="read_committed")
    await consumer.start()
    try:
        consumer.assign(places)
        await (consumer.seek_to_beginning if wanted.from_beginning else consumer.seek_to_end)(*places)
        yield consumer, places
    finally:
        await consumer.stop()


def _line(record: "ConsumerRecord[bytes, bytes]", wanted: EventFilter, as_json: bool) -> str | None:
    from shared.events.envelope import UndecodableError, UnknownTypeError, parse_headers
    from shared.events.event import decode

    place = f"{record.topic}/{record.partition}/{record.offset}"
    try:
        envelope = parse_headers(record.headers)
        with suppress(UnknownTypeError):  # of a newer version: told as it is
            decode(envelope, record.value, topic=record.topic, key=record.key)
    except UndecodableError as fault:
        if wanted.types or wanted.subject:
            return None
        refused = {"refused": place, "reason": fault.reason, "fault": str(fault)}
        return json.dumps(refused) if as_json else f"{fault.reason}: {place}: {fault}"
    if not wanted.takes(envelope.type, envelope.subject):
        return None
    trace_id = envelope.traceparent.split("-")[1] if envelope.traceparent else ""
    if not as_json:
        time = envelope.time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return f"{time}  {envelope.type:<34}  {envelope.subject}  #{envelope.sequence:<4}  {trace_id or '(no trace)'}"
    fields = {
        "id": envelope.id, "type": envelope.type, "source": envelope.source, "subject": envelope.subject,
        "time": envelope.time.isoformat(), "sequence": envelope.sequence, "unit": envelope.unit,
        "programme": envelope.programme, "correlation_id": envelope.correlation_id,
        "causation_id": envelope.causation_id, "trace_id": trace_id or None, "topic": record.topic,
        "partition": record.partition, "offset": record.offset, "data": _data(record.value),
    }  # fmt: skip
    return json.dumps(fields, default=str, ensure_ascii=False)


def _data(value: bytes | None) -> Any:
    try:
        return None if value is None else json.loads(value)
    except ValueError:
        return value.decode(errors="replace") if value else None
