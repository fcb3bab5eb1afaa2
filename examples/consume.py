"""Follow Medled's public events with FastStream.

    pip install "faststream[kafka]"
    python examples/consume.py HOST:PORT        # or set KAFKA_BOOTSTRAP

`medled up`, `medled demo` and `medled doctor` say where the embedded broker is; `docker compose` has Kafka at
127.0.0.1:9094, which is the default here.

An outside consumer needs nothing of Medled's code, only what docs/integrating.md promises: at least once, in order per
key, one `ce_id` per event. Handling it and remembering its id should be one transaction of yours; a set does here.
"""

import asyncio
import logging
import os
import sys
from typing import Any

from aiokafka.errors import KafkaConnectionError
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

TOPICS = ("medled.enrolment.v1", "medled.feedback.v1", "medled.notifications.v1")
BOOTSTRAP = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9094")

errors = logging.getLogger("errors")  # FastStream's notices would bury the events; what fails must still be seen
errors.setLevel(logging.ERROR)
broker = KafkaBroker(BOOTSTRAP, consumer_only=True, allow_auto_create_topics=False, logger=errors)
seen: set[str] = set()


@broker.subscriber(
    *TOPICS,
    group_id="example-dashboard",
    auto_offset_reset="earliest",
    ack_policy=AckPolicy.NACK_ON_ERROR,  # FastStream's default acknowledges first, and loses what then fails
)
async def on_event(event: dict[str, Any], message: KafkaMessage) -> None:
    """Called for each record; the CloudEvents attributes are its headers."""
    if message.headers["ce_id"] in seen:
        return  # delivered again
    seen.add(message.headers["ce_id"])
    print(message.headers["ce_type"], message.headers["ce_subject"], event, flush=True)


async def main() -> None:
    """Until Ctrl-C."""
    print(f"Following {', '.join(TOPICS)} at {BOOTSTRAP}; Ctrl-C ends it.", file=sys.stderr)
    try:
        await FastStream(broker, logger=None).run()
    except KafkaConnectionError:
        await broker.stop()  # FastStream leaves a start that failed to us
        sys.exit(f"No Kafka answers at {BOOTSTRAP} (`medled doctor` says where the embedded broker is)")


if __name__ == "__main__":
    asyncio.run(main())
