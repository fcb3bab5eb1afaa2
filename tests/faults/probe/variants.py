"""Workers that die at an exact point, and workers that are wrong: what the checker must catch. Nowhere but here."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from shared.messaging import inbox, relay
from shared.messaging.consumer import Consumer
from shared.messaging.handler import Handler, Received, Record
from shared.messaging.offsets import remember_offsets
from shared.messaging.record_batches import Burst, Row
from shared.messaging.relay import Direct, Relay
from shared.messaging.relay_producer import RelayProducer
from shared.messaging.subscription import Subscription
from shared.postgres.pool import Connection
from shared.postgres.transaction import transaction
from shared.runtime.worker import Worker

MARK = "PROBE_MARK"
"""Environment: the file that remembers, beyond death, that the point was reached: a process dies there once."""

FREEZE = ".freeze"
"""Suffix of the mark's file: once that file is there, a process stops itself with the next burst in hand."""


def _freeze_when_told() -> None:
    told = Path(os.environ[MARK] + FREEZE)
    if told.exists():
        told.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)


def _die_once() -> None:
    mark = Path(os.environ[MARK])
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


class DiesBeforeOffsetCommit(Subscription):
    """Gone between the database's commit and Kafka's."""

    async def _commit(self) -> None:
        if self._uncommitted:
            _die_once()
        await super()._commit()


class DiesBeforeMark(Relay):
    """Gone between the broker's acknowledgement and the mark."""

    async def _mark(self, conn: Direct, rows: Sequence[Row]) -> None:
        if rows:
            _die_once()
        await super()._mark(conn, rows)


class MarksBeforeAcknowledgement(Relay):
    """Wrong: a row is called published before it is."""

    async def _send(self, producer: RelayProducer, burst: Burst) -> None:
        if self._conn is not None:
            await super()._mark(self._conn, burst.rows)
        _die_once()
        await super()._send(producer, burst)

    _conn: Direct | None = None

    async def _lead(self, conn: Direct, *, after_unclean_end: bool) -> None:
        self._conn = conn
        await super()._lead(conn, after_unclean_end=after_unclean_end)


class FreezesWithABurstInHand(RelayProducer):
    """Stopped when it has just seen that it leads, and is about to write to its connection."""

    async def _confirm_leadership_over_connection(self, client: Any, node_id: Any) -> None:
        await super()._confirm_leadership_over_connection(client, node_id)
        _freeze_when_told()


class ReadsAnAnswerLate(Relay):
    """Stopped when Postgres has answered that it leads, and before it reads the answer."""

    async def _confirm_leadership(self, conn: Direct) -> None:
        if Path(os.environ[MARK] + FREEZE).exists():
            self._last_heartbeat = 0.0  # as when the beats before it were slow
        await super()._confirm_leadership(conn)

    async def _heartbeat(self, conn: Direct) -> None:
        asks = not self._last_heartbeat
        await super()._heartbeat(conn)
        if asks:
            _freeze_when_told()
            await asyncio.sleep(0.1)  # what else came meanwhile is read too: that the broker has closed


class FreezesAndHasNoFence(FreezesWithABurstInHand):
    """Wrong: a producer id of its own in every term, as an idempotent producer has without a transactional id."""

    async def start(self) -> None:
        self._fence = None
        await AIOKafkaProducer.start(self)


class FreezesAndNeverAsks(FreezesWithABurstInHand):
    """Wrong: sends again whatever has become of its leadership."""

    async def _confirm_or_not(self) -> None:
        return

    async def start(self) -> None:
        self._confirm_leadership = self._confirm_or_not
        await super().start()


class CommitsBeforeProcessing(Consumer):
    """Wrong: the offsets are kept before the effects are."""

    async def handle(self, records: Sequence[Record]) -> None:
        async with transaction(self._pool) as conn:
            await remember_offsets(conn, self.service, self.generation, self.epoch, records)
        await super().handle(records)


_admit = inbox.admit


async def _admit_everything(
    conn: Connection, handler: Handler, events: Sequence[Received[Any]], *, however_old: bool = False
) -> inbox.Admitted:
    await _admit(conn, handler, events, however_old=however_old)
    return inbox.Admitted(list(events), [])


def _dies_before_offset_commit(worker: Worker) -> None:
    worker.subscription.__class__ = DiesBeforeOffsetCommit


def _dies_before_mark(worker: Worker) -> None:
    worker.relay.__class__ = DiesBeforeMark


def _marks_before_acknowledgement(worker: Worker) -> None:
    worker.relay.__class__ = MarksBeforeAcknowledgement


def _with_producer(kind: type[RelayProducer]) -> Callable[[Worker], None]:
    def change(_: Worker) -> None:
        setattr(relay, "RelayProducer", kind)  # noqa: B010 - mypy takes no class for a variable

    return change


def _freezes_while_it_asks(worker: Worker) -> None:
    worker.relay.__class__ = ReadsAnAnswerLate


def _commits_before_processing(worker: Worker) -> None:
    worker.consumer.__class__ = CommitsBeforeProcessing


def _no_inbox(worker: Worker) -> None:
    inbox.admit = _admit_everything


VARIANTS: dict[str, Callable[[Worker], None]] = {
    "dies-before-offset-commit": _dies_before_offset_commit,
    "dies-before-mark": _dies_before_mark,
    "marks-before-acknowledgement": _marks_before_acknowledgement,
    "freezes-with-a-burst-in-hand": _with_producer(FreezesWithABurstInHand),
    "freezes-while-it-asks": _freezes_while_it_asks,
    "freezes-and-has-no-fence": _with_producer(FreezesAndHasNoFence),
    "freezes-and-never-asks": _with_producer(FreezesAndNeverAsks),
    "commits-before-processing": _commits_before_processing,
    "no-inbox": _no_inbox,
}
