"""Where a topic's partitions end."""

from aiokafka import AIOKafkaConsumer


async def ends_of(bootstrap: str, topic: str) -> dict[int, int]:
    """The next offset of each partition of a topic."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        return {place.partition: end for place, end in (await consumer.end_offsets(consumer.assignment())).items()}
    finally:
        await consumer.stop()
