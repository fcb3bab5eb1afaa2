"""Follow Medled's public events with FastStream: `python examples/consume.py BOOTSTRAP`.

An outside consumer needs nothing of Medled's code, only what docs/integrating.md promises: at least once, in order per
key, one `ce_id` per event. Handling it and remembering its id should be one transaction of yours; a set does here.
"""

import sys
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

TOPICS = ("medled.enrolment.v1", "medled.feedback.v1", "medled.notifications.v1")

broker = KafkaBroker(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9094", allow_auto_create_topics=False)
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


if __name__ == "__main__":
    import asyncio

    asyncio.run(FastStream(broker, logger=None).run())
