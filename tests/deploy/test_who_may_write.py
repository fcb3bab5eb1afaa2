"""The operations guide's table of who writes and reads which topic is what the code does, and so are its reasons."""

import re
from collections import defaultdict
from pathlib import Path

from deploy.services import SERVICES, find_service
from shared.events import REGISTRY
from shared.events.vocabulary import REASONS

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


async def test_the_guide_says_who_writes_and_who_reads_each_topic_and_the_rules_for_kafka_give_just_that() -> None:
    written = {event.topic: event.source.rpartition("/")[2] for event in REGISTRY.values()}
    read: dict[str, set[str]] = defaultdict(set)
    for service in SERVICES:
        for handler in find_service(service).handlers:
            for event in handler.events:
                read[event.topic].add(service)
    rows = re.findall(
        r"^\| `(medled\.[\w-]+\.v1)`(?: \([^|]+\))? \| (\w+) \| ([\w, ]+) \| (yes|no)\b", OPERATIONS, re.MULTILINE
    )
    assert {topic: writer for topic, writer, _, _ in rows} == written
    assert {topic: set(readers.split(", ")) for topic, _, readers, _ in rows} == read
    assert {topic for topic, _, _, others in rows if others == "no"} == {
        event.topic for event in REGISTRY.values() if event.restricted
    }

    rules = re.findall(r"^may_(write|read) (\w+)((?:[ \\\n]+medled\.[\w-]+\.v1)*)", OPERATIONS, re.MULTILINE)
    given = {(what, service): set(re.findall(r"medled\.[\w-]+\.v1", topics)) for what, service, topics in rules}
    for service in SERVICES:
        assert given["write", service] == {topic for topic, writer in written.items() if writer == service}
        assert given["read", service] == {topic for topic, readers in read.items() if service in readers}


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    adr = (ROOT / "docs" / "adr" / "0003-retry-and-dead-letters.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", adr, re.MULTILINE)) == set(REASONS)
