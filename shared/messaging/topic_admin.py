"""The platform's Kafka topics: creating those that are declared, and what the broker has.

The one place topics are made from; auto-creation is off everywhere, because it makes topics of one partition.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from shared.events.topics import Topic, load_topics


@dataclass(frozen=True, slots=True)
class TopicReport:
    """Declared topics beside the broker's: what was created now, was there, is missing; differences in plain words."""

    created: tuple[str, ...]
    present: tuple[str, ...]
    missing: tuple[str, ...]
    differences: tuple[str, ...]


async def ensure_topics(
    client: Mapping[str, Any] | str, *, file: Path | None = None, replication_factor: int = 1, wait: float = 30
) -> TopicReport:
    """Create the declared topics that are missing. Safe to run again, and by several at once.

    `client` is `Settings.kafka_client()` or a bootstrap address. Existing topics are never changed: what differs from
    the declaration is reported. Waits up to `wait` seconds for the broker, then raises aiokafka's `KafkaError` or
    `TimeoutError`.
    """
    topics = load_topics(file)
    async with _admin(client, wait) as admin:
        missing = topics.keys() - (await _partitions(admin)).keys()
        created = await _create(admin, [topics[name] for name in topics if name in missing], replication_factor)
        await _wait_until_known(admin, topics, wait)
        return await _report(admin, topics, created)


async def describe_topics(
    client: Mapping[str, Any] | str, *, file: Path | None = None, wait: float = 30
) -> TopicReport:
    """Like `ensure_topics`, but creates nothing."""
    async with _admin(client, wait) as admin:
        return await _report(admin, load_topics(file), [])


async def partition_counts(client: Mapping[str, Any] | str, *, wait: float = 30) -> dict[str, int]:
    """Partitions of every topic that is on the broker, whether declared or not. Raises as `ensure_topics` does."""
    async with _admin(client, wait) as admin:
        return await _partitions(admin)


@asynccontextmanager
async def _admin(client: Mapping[str, Any] | str, wait: float) -> AsyncIterator[AIOKafkaAdminClient]:
    arguments = {"bootstrap_servers": client} if isinstance(client, str) else dict(client)
    admin = await _connect(arguments, wait)
    try:
        yield admin
    finally:
        await admin.close()


async def _connect(arguments: dict[str, Any], wait: float) -> AIOKafkaAdminClient:
    deadline = asyncio.get_running_loop().time() + wait
    while True:
        admin = AIOKafkaAdminClient(**arguments)
        try:
            await admin.start()
        except KafkaError as error:
            await admin.close()
            if not isinstance(error, KafkaConnectionError) or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.2)
        else:
            return admin


async def _partitions(admin: AIOKafkaAdminClient) -> dict[str, int]:
    return {
        entry["topic"]: len(entry["partitions"]) for entry in await admin.describe_topics() if not entry["error_code"]
    }


async def _wait_until_known(admin: AIOKafkaAdminClient, topics: Mapping[str, Topic], wait: float) -> None:
    """The broker acknowledges a creation before it tells clients of the topic."""
    async with asyncio.timeout(wait):
        while topics.keys() - (await _partitions(admin)).keys():
            await asyncio.sleep(0.05)


async def _report(admin: AIOKafkaAdminClient, topics: Mapping[str, Topic], created: list[str]) -> TopicReport:
    actual = await _partitions(admin)
    present = [topic for topic in topics.values() if topic.name in actual and topic.name not in created]
    differences = [
        f"{topic.name} has {actual[topic.name]} partitions, {topic.partitions} are declared"
        for topic in present
        if actual[topic.name] != topic.partitions
    ]
    return TopicReport(
        created=tuple(created),
        present=tuple(topic.name for topic in present),
        missing=tuple(name for name in topics if name not in actual),
        differences=(*differences, *await _setting_differences(admin, present)),
    )


def new_topic(topic: Topic, replication_factor: int) -> NewTopic:
    """What Kafka is asked to create. With three replicas an acknowledgement means two: one may then be lost."""
    safety = {"min.insync.replicas": "2"} if replication_factor >= 3 else {}
    return NewTopic(topic.name, topic.partitions, replication_factor, topic_configs=topic.configuration | safety)


async def _create(admin: AIOKafkaAdminClient, topics: list[Topic], replication_factor: int) -> list[str]:
    """Create these and return the names that are new: another process may have been faster."""
    if not topics:
        return []
    response = await admin.create_topics([new_topic(topic, replication_factor) for topic in topics])
    for name, code, *message in response.topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise for_code(code)(f"{name}: {message[0] if message else ''}")
    return [name for name, code, *_ in response.topic_errors if not code]


async def _setting_differences(admin: AIOKafkaAdminClient, topics: list[Topic]) -> list[str]:
    if not topics:
        return []
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics])
    actual = {
        resource[3]: {entry[0]: entry[1] for entry in resource[4]}
        for response in responses
        for resource in response.resources
    }
    return [
        f"{topic.name} has {key}={actual[topic.name][key]}, {value} is declared; to set it: kafka-configs.sh --alter "
        f"--entity-type topics --entity-name {topic.name} --add-config {key}={value}"
        for topic in topics
        for key, value in topic.configuration.items()
        if key in actual.get(topic.name, {}) and actual[topic.name][key] != value
    ]
