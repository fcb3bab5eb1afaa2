"""Topics for tests on Apache Kafka, whose server is shared."""

import asyncio
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from shared.messaging.topic_admin import ensure_topics


async def renew_topics(bootstrap: str, file: Path | None = None) -> None:
    """Delete every topic there is, and make those of `file`, or of this version: another life of the broker."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        while names := [name for name in await admin.list_topics() if not name.startswith("__")]:
            await admin.delete_topics(names)
            await asyncio.sleep(0.1)
    finally:
        await admin.close()
    if file is None:
        await ensure_topics(bootstrap)
    else:
        await ensure_topics(bootstrap, file=file)
