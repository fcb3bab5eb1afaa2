"""`medled topics`: create what is missing, report what differs."""

import asyncio
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.output import DataOption, JsonOption, fail, say, show_json, table
from deploy.stack import NoStackError, find_stack

if TYPE_CHECKING:
    from shared.events.topics import Topic


def topics(
    broker: Annotated[
        str | None, typer.Option(help="Bootstrap address [MEDLED_KAFKA_* settings, else the embedded stack's].")
    ] = None,
    replication_factor: Annotated[
        int, typer.Option(min=1, envvar="MEDLED_KAFKA_REPLICATION_FACTOR", help="Replicas of each topic it creates.")
    ] = 1,
    declared: Annotated[bool, typer.Option("--list", help="Only print what is declared; talks to no broker.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create the declared topics that are missing. Never changes one that exists; safe to run again.

    Exit status: 0 when all topics are as declared, 1 when one differs or the broker cannot be reached.
    """
    if declared:
        _list(as_json)
        return
    from aiokafka.errors import KafkaError

    from shared.messaging.topic_admin import ensure_topics

    try:
        report = asyncio.run(ensure_topics(kafka_client(broker, data), replication_factor=replication_factor))
    except (KafkaError, TimeoutError) as error:
        fail(f"The broker did not do it: {error or type(error).__name__}")
    if as_json:
        show_json({"created": report.created, "present": report.present, "differences": report.differences})
    else:
        say(f"{len(report.created)} created, {len(report.present)} were there")
        for difference in report.differences:
            say(f"differs: {difference}")
    if report.differences:
        raise typer.Exit(1)


def kafka_client(broker: str | None, data: DataOption) -> dict[str, Any] | str:
    """The address given, or aiokafka's arguments by the settings, or the embedded stack's address."""
    from shared.settings import KafkaSettings

    if broker is not None:
        return broker
    if "MEDLED_KAFKA_BOOTSTRAP" in os.environ:
        return KafkaSettings().kafka_client()
    try:
        return find_stack(data).kafka_bootstrap
    except NoStackError as reason:
        fail(f"{reason} For another broker, set MEDLED_KAFKA_BOOTSTRAP or use --broker.")


def _list(as_json: bool) -> None:
    from shared.events.topics import load_topics

    known = load_topics().values()
    if as_json:
        show_json([topic.model_dump() for topic in known])
    else:
        table(
            ("topic", "partitions", "kept", "for"),
            [
                (
                    topic.name,
                    topic.partitions,
                    _kept(topic),
                    "services" if topic.restricted else "everybody",
                )
                for topic in known
            ],
        )


def _kept(topic: "Topic") -> str:
    if topic.compacted:
        return "newest per key"
    return f"{topic.kept_days} days" if topic.kept_days else "for ever"
