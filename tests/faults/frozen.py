"""A relay that is stopped with a burst in hand, replaced, and thawed: what it still sends must not land.

Judged twice: by the ends of the topics, which must not move when it thaws, and by who reads after a compaction and has
only each unit's last record.
"""

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deploy.embedded.process import Child
from shared.events import EnrolmentRequested, UnitState
from shared.ids import new_id
from shared.messaging import outbox
from shared.postgres.transaction import transaction
from tests.faults import traffic
from tests.faults.probe.variants import FREEZE
from tests.faults.stage import PUBLISHER, UNITS, FaultDidNotHappenError, Stage, until, until_at_least
from tests.support.log_ends import ends_of

TOPICS = (EnrolmentRequested.topic, UnitState.topic)
_GAVE_UP = re.compile("broker unavailable to the relay|relay interrupted")
_COMPACTED_AT_ONCE = {
    "cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.0", "delete.retention.ms": "0",
}  # fmt: skip


class OlderAfterNewerError(AssertionError):
    """What a deposed relay had in hand landed behind what its successor sent."""


async def freeze_with_a_burst_in_hand(stage: Stage, variant: str) -> Child:
    """A relay that leads, has published, and is stopped with the next burst in hand."""
    frozen = stage.start(PUBLISHER, variant)
    await stage.write(400)
    await until_at_least(400, stage.published)
    Path(stage.mark + FREEZE).touch()
    await change_all_units(stage, "in hand")
    await until("it stopped itself", lambda: _is_stopped(frozen))
    return frozen


async def replace(stage: Stage) -> None:
    """A successor publishes what the frozen one had in hand, and newer states of the same units."""
    before = await stage.term()
    stage.start(PUBLISHER)
    await until_at_least(before + 1, stage.term)
    await change_all_units(stage, "newer")
    await until_published(stage)


async def thaw_and_judge(stage: Stage, frozen: Child) -> None:
    """Raises OlderAfterNewerError."""
    ends = await _ends(stage)
    frozen.thaw()
    await until("it noticed", lambda: bool(_GAVE_UP.search(frozen.tail(99))))
    await asyncio.sleep(0.5)  # a retry of the library would come after 0.1
    moved = await _ends(stage) != ends
    landed = await _units_whose_last_record_is_old(stage)
    if moved or landed:
        raise OlderAfterNewerError(f"the log grew: {moved}; units in an old state after compaction: {landed}")


async def change_all_units(stage: Stage, name: str) -> None:
    async with transaction(stage.publisher) as conn:
        await outbox.add(conn, *[UnitState(unit_id=unit, name=name) for unit in UNITS], now=datetime.now(UTC))


async def until_published(stage: Stage) -> None:
    async def published_all() -> int:
        return int(not await stage.backlog())

    await until_at_least(1, published_all)


def _is_stopped(child: Child) -> bool:
    return "\nState:\tT" in Path(f"/proc/{child.pid}/status").read_text(encoding="utf-8")


async def _ends(stage: Stage) -> Mapping[str, Mapping[int, int]]:
    return {topic: await ends_of(stage.kafka.bootstrap, topic) for topic in TOPICS}


async def _units_whose_last_record_is_old(stage: Stage) -> set[bytes]:
    await _compact(stage)
    newest = {
        str(row["subject"]).encode(): row["last"]
        for row in await stage.publisher.fetch(
            "select subject, last from outbox_sequences where topic = $1", UnitState.topic
        )
    }
    last: dict[bytes, int] = {}
    for record in await traffic.read(stage.kafka.bootstrap, UnitState.topic):
        last[record.key] = int(dict(record.headers)["ce_sequence"])
    return {unit for unit, sequence in last.items() if sequence != newest[unit]}


async def _compact(stage: Stage) -> None:
    """Have the topic compacted, and see that it was: of each unit there is one record."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stage.kafka.bootstrap)
    await admin.start()
    resource = ConfigResource(ConfigResourceType.TOPIC, UnitState.topic, configs=_COMPACTED_AT_ONCE)
    await admin.alter_configs([resource])
    await admin.close()
    units = {str(unit).encode() for unit in UNITS}
    for _ in range(60):
        await _roll(stage)
        records = [each for each in await traffic.read(stage.kafka.bootstrap, UnitState.topic) if each.key in units]
        if len(records) == len(units):
            return
        await asyncio.sleep(0.3)
    raise FaultDidNotHappenError("the topic was not compacted")


async def _roll(stage: Stage) -> None:
    # The segment being written is never compacted: others' states push the units' out of it.
    others = [UnitState(unit_id=new_id(), name="another") for _ in range(8)]
    async with transaction(stage.publisher) as conn:
        await outbox.add(conn, *others, now=datetime.now(UTC))
    await until_published(stage)
