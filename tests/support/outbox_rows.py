"""Rows as a relay takes them from an outbox, without one."""

import time
from typing import Any, cast

from shared.ids import new_id
from shared.messaging.record_batches import Row

TOPIC = "medled.units.v1"


def rows(number: int = 40, *, age: float = 0, topic: str = TOPIC) -> list[Row]:
    millis = int((time.time() - age) * 1000)
    made = [
        {
            "seq": n,
            "topic": topic,
            "key": str(new_id()),
            "headers": "ce_sequence: 1",
            "payload": b"{}",
            "millis": millis,
        }
        for n in range(number)
    ]
    return [cast("Row", _AsRecord(each)) for each in made]


class _AsRecord(dict[str, Any]):
    """A row that is unpacked as asyncpg's: by its values."""

    def __iter__(self) -> Any:
        return iter(self.values())
