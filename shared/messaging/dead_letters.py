"""Records that could not be handled: parked until their parent arrives, or dead until a person decides (ADR 0003).

A dead letter is kept here, where it can be listed, replayed and discarded, and announced on the service's dead-letter
topic by the outbox: both in the transaction that gave up on it.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from aiokafka import ConsumerRecord

from shared.ids import new_id
from shared.messaging.handler import Record
from shared.messaging.outbox import MAX_PAYLOAD_BYTES
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import will_publish


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose record it is: a consumer in one life of the broker, and the handler and event where they are known."""

    consumer: str
    epoch: UUID
    handler: str | None = None
    event_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class SetAside:
    """A stored record, ready to be tried again."""

    id: UUID
    handler: str | None
    event_id: UUID | None
    record: Record
    attempts: int
    expires_at: datetime | None


async def dead_letter(
    conn: Connection, record: Record, owner: Owner, *, reason: str, detail: str, attempts: int, now: datetime
) -> None:
    """Make this record a dead letter. An undecodable one that is one already is left as it is."""
    stored = await _store(
        conn, record, owner, state="dead", reason=reason, detail=detail, attempts=attempts, now=now,
        retry_at=None, expires_at=None,
    )  # fmt: skip
    if stored:
        await _publish(conn, record, owner, reason, attempts)


async def park(
    conn: Connection, record: Record, owner: Owner, *, waiting_for: str, now: datetime, timeout: timedelta
) -> None:
    """Keep this record until what it waits for is known, or `timeout` has passed."""
    await _store(
        conn, record, owner, state="parked", reason="parent_unknown", detail=waiting_for, attempts=1, now=now,
        retry_at=now + timedelta(seconds=1), expires_at=now + timeout,
    )  # fmt: skip


async def any_parked_due(pool: Pool, consumer: str, now: datetime) -> bool:
    """Whether there is any for `claim_parked`, unless somebody else has it."""
    found: bool = await pool.fetchval(
        "select exists (select from set_aside where consumer = $1 and state = 'parked' and retry_at <= $2)",
        consumer, now,
    )  # fmt: skip
    return found


async def claim_parked(conn: Connection, consumer: str, now: datetime, only: UUID | None = None) -> SetAside | None:
    """Lock a parked record whose next try has come, or `only` that one."""
    row = await conn.fetchrow(
        """
        select * from set_aside where consumer = $1 and state = 'parked' and retry_at <= $2
            and ($3::uuid is null or id = $3)
        order by retry_at limit 1 for update skip locked
        """,
        consumer, now, only,
    )  # fmt: skip
    return None if row is None else _set_aside(row)


async def resolve(conn: Connection, ids: Sequence[UUID]) -> None:
    """These parked records have been handled."""
    await conn.execute("delete from set_aside where id = any($1::uuid[])", ids)


async def reschedule(conn: Connection, parked: SetAside, waiting_for: str, now: datetime) -> None:
    """Its parent is still unknown: try again later, at most a minute apart."""
    delay = timedelta(seconds=min(2 ** min(parked.attempts, 6), 60))
    await conn.execute(
        "update set_aside set attempts = attempts + 1, retry_at = $2, detail = $3 where id = $1",
        parked.id, now + delay, waiting_for,
    )  # fmt: skip


async def give_up(conn: Connection, parked: SetAside, owner: Owner, *, reason: str, detail: str, now: datetime) -> None:
    """A parked record that can wait no longer, or failed when tried again, becomes a dead letter."""
    await conn.execute(
        "update set_aside set state = 'dead', reason = $2, detail = $3, attempts = attempts + 1, retry_at = null, "
        "set_aside_at = $4 where id = $1",
        parked.id, reason, _storable(detail), now,
    )  # fmt: skip
    await _publish(conn, parked.record, owner, reason, parked.attempts + 1)


async def _store(
    conn: Connection, record: Record, owner: Owner, *, state: str, reason: str, detail: str, attempts: int,
    now: datetime, retry_at: datetime | None, expires_at: datetime | None,
) -> bool:  # fmt: skip
    status = await conn.execute(
        """
        insert into set_aside (id, consumer, handler, event_id, epoch, topic, partition, "offset", key, headers, value,
                               state, reason, detail, attempts, set_aside_at, retry_at, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
        on conflict (consumer, epoch, topic, partition, "offset") where handler is null do nothing
        """,
        new_id(), owner.consumer, owner.handler, owner.event_id, owner.epoch, record.topic, record.partition,
        record.offset, record.key, _stored_headers(record), record.value, state, reason, _storable(detail), attempts,
        now, retry_at, expires_at,
    )  # fmt: skip
    return status.endswith(" 1")


async def _publish(conn: Connection, record: Record, owner: Owner, reason: str, attempts: int) -> None:
    headers: dict[str, Any] = {
        "dl_reason": reason,
        "dl_attempts": attempts,
        "dl_handler": owner.handler or "",
        "dl_topic": record.topic,
        "dl_partition": record.partition,
        "dl_offset": record.offset,
        "dl_headers": json.dumps(_stored_headers(record), separators=(",", ":")),
    }
    value = record.value
    if len(headers["dl_headers"]) + len(value or b"") > MAX_PAYLOAD_BYTES:  # the whole of it stays in the table
        headers["dl_headers"], headers["dl_truncated"], value = "[]", "true", None
    await conn.execute(
        "insert into outbox (id, topic, key, subject, type, headers, payload) "
        "values ($1, $2, $3, '', 'dead-letter', $4, $5)",
        new_id(), f"medled.{owner.consumer}.dead-letters.v1", _printable_key(record.key)[:1000],
        "\n".join(f"{name}: {content}" for name, content in headers.items()), value,
    )  # fmt: skip
    will_publish()


def _printable_key(key: bytes | None) -> str:
    try:
        text = (key or b"").decode()
    except UnicodeDecodeError:
        text = "\0"
    return text if not text or text.isprintable() else base64.b64encode(key or b"").decode()


def _storable(detail: str) -> str:
    # It may name a field of the record, and a name in JSON may hold what Postgres does not store.
    return detail[:2000].replace("\0", "\ufffd").encode(errors="replace").decode()


def _stored_headers(record: Record) -> list[list[str | None]]:
    # Postgres stores no NUL character, and the name of a header may hold one.
    return [
        [str(name).replace("\0", "\ufffd"), None if value is None else base64.b64encode(value).decode()]
        for name, value in record.headers
    ]


def _set_aside(row: Any) -> SetAside:
    headers = tuple((name, None if value is None else base64.b64decode(value)) for name, value in row["headers"])
    record: Record = ConsumerRecord(
        topic=row["topic"], partition=row["partition"], offset=row["offset"], timestamp=0, timestamp_type=0,
        key=row["key"], value=row["value"], checksum=None, serialized_key_size=len(row["key"] or b""),
        serialized_value_size=len(row["value"] or b""), headers=headers,
    )  # fmt: skip
    return SetAside(row["id"], row["handler"], row["event_id"], record, row["attempts"], row["expires_at"])
