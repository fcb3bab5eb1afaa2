"""Topics are made from one file, again and again, and never changed in place."""

from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from shared.events.topics import load_topics
from shared.messaging.topic_admin import ensure_topics, new_topic

_TWO = """
medled.one.v1: {carries: something, partitions: 2}
medled.two.v1: {carries: state, compacted: true}
"""


async def test_running_it_again_creates_nothing(broker: str) -> None:
    report = await ensure_topics(broker)
    assert report.created == ()
    assert set(report.present) == set(load_topics())
    assert report.differences == ()


async def test_a_topic_with_other_partitions_is_reported_and_left_alone(broker: str, tmp_path: Path) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text(_TWO)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic("medled.one.v1", 4, 1)])
    report = await ensure_topics(broker, file=file)
    assert report.created == ("medled.two.v1",)
    assert "medled.one.v1 has 4 partitions, 2 are declared" in report.differences
    [entry] = await admin.describe_topics(["medled.one.v1"])
    assert len(entry["partitions"]) == 4
    await admin.close()


@pytest.mark.kafka
async def test_apache_kafka_reports_a_topic_that_should_be_compacted_or_let_go_and_how_to_mend_it(
    kafka: str, tmp_path: Path
) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text(_TWO.replace("two", "three") + "medled.four.v1: {carries: links, kept_days: 120}")
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    kept_for_ever = {"retention.ms": "-1"}
    await admin.create_topics(
        [NewTopic("medled.three.v1", 6, 1), NewTopic("medled.four.v1", 6, 1, topic_configs=kept_for_ever)]
    )
    report = await ensure_topics(kafka, file=file)
    told = {difference.split(";")[0]: difference for difference in report.differences}
    assert "medled.three.v1 has cleanup.policy=delete, compact is declared" in told
    limit = told["medled.four.v1 has retention.ms=-1, 10368000000 is declared"]
    assert limit.endswith("--entity-name medled.four.v1 --add-config retention.ms=10368000000")
    await admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, "medled.four.v1", {"retention.ms": "10368000000"})]
    )
    assert [each for each in (await ensure_topics(kafka, file=file)).differences if "four" in each] == []
    await admin.close()


def test_with_three_replicas_an_acknowledgement_means_two_and_dead_letters_go_in_time() -> None:
    letters = load_topics()["medled.portal.dead-letters.v1"]
    assert new_topic(letters, 3).topic_configs["min.insync.replicas"] == "2"
    assert "min.insync.replicas" not in new_topic(letters, 1).topic_configs
    assert letters.configuration["retention.ms"] == str(90 * 24 * 3600 * 1000)
    assert load_topics()["medled.enrolment.v1"].configuration["retention.ms"] == "-1"


def test_personal_data_is_restricted_and_state_is_compacted() -> None:
    topics = load_topics().values()
    dead_letters = {topic.name for topic in topics if "dead-letters" in topic.name}
    assert {topic.name for topic in topics if topic.restricted} == dead_letters | {
        "medled.people.v1", "medled.access.v1", "medled.invitations.v1", "medled.sessions.v1", "medled.sign-ins.v1",
        "medled.team-changes.v1",
    }  # fmt: skip
    assert {topic.name for topic in topics if topic.compacted} == {
        "medled.people.v1", "medled.units.v1", "medled.access.v1",
    }  # fmt: skip
