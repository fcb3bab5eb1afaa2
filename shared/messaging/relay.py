"""From the outbox to Kafka, once per row unless something dies in between (ADR 0002, ADR 0011).

One relay leads per database. It holds an advisory lock on the connection that also marks rows, so whoever loses the
lock can mark nothing. It takes unpublished rows, never those above a high-water mark, since ids do not commit in order.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import structlog
from aiokafka.errors import KafkaError, KafkaTimeoutError, ProducerFenced

from shared.messaging import epoch as epochs
from shared.messaging.record_batches import Burst, Row, burst_of
from shared.messaging.relay_producer import DELIVERY_SECONDS, RelayProducer, uptime
from shared.postgres.failures import UNAVAILABLE
from shared.postgres.pool import connect
from shared.postgres.transaction import HINT_CHANNEL
from shared.settings import Settings

log = structlog.get_logger(__name__)

LOCK = 0x6D65646C_6564  # "medled"; advisory locks are per database, and so is the leader
POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 2.0
STALE_SECONDS = 10.0
SLOW_ACKNOWLEDGEMENT_SECONDS = (
    5.0  # an acknowledgement that takes longer may wait for a broker that has lost its topics
)
LAST_BURST_SECONDS = 2.0  # what a relay that is to end gives the broker to acknowledge what it was just sent
BURST_BYTES = 4_000_000  # of payloads at a time, three times in memory, twice each: dead letters can be large
REFILL_SECONDS = 3600.0  # two weeks of rows are marked in one statement

if TYPE_CHECKING:
    Direct = asyncpg.Connection[asyncpg.Record]
else:
    Direct = asyncpg.Connection


class Relay:
    """Publishes one service's outbox for as long as `run` runs, as leader or in waiting."""

    def __init__(self, settings: Settings, *, service: str) -> None:
        self._settings = settings
        self._service = service
        self._watcher = epochs.EpochWatcher(settings)
        self._hint = asyncio.Event()
        self._busy = asyncio.Lock()  # the leader's one connection takes one statement at a time
        self._ending = False
        self._last_heartbeat = 0.0
        self.leading = False
        self.published = 0

    async def run(self) -> None:
        """Lead when nobody else does; survive every outage of broker and database."""
        while True:
            try:
                await self._acquire_leadership()
            except (*UNAVAILABLE, KafkaError) as error:
                log.warning("relay interrupted", error=type(error).__name__, detail=str(error)[:200])
            finally:
                self.leading = False
                await self._watcher.close()
            await asyncio.sleep(1)

    async def _acquire_leadership(self) -> None:
        conn = await connect(self._settings, name=f"medled-{self._service}-relay")
        try:
            while not await conn.fetchval("select pg_try_advisory_lock($1)", LOCK):
                await _terminate_stale_leader(conn)
                await asyncio.sleep(1)
            unclean = await conn.fetchval("select true from relay_leader")
            await conn.execute(
                """
                insert into relay_leader (pid, term, beat_at) values (pg_backend_pid(), 1, now())
                on conflict (only_row) do update
                set pid = excluded.pid, term = relay_leader.term + 1, beat_at = excluded.beat_at
                """
            )
            # A mark that a crash of Postgres takes away is published again, as after a crash before it (ADR 0014).
            await conn.execute("set synchronous_commit = off")
            await conn.add_listener(HINT_CHANNEL, lambda *_: self._hint.set())
            self.leading = True
            log.info("relay leads")
            await self._lead(conn, after_unclean_end=bool(unclean))
        finally:
            with suppress(*UNAVAILABLE):
                if not conn.is_closed() and self.leading:
                    await conn.execute("delete from relay_leader where pid = pg_backend_pid()", timeout=2)
                await conn.close(timeout=2)

    async def _lead(self, conn: Direct, *, after_unclean_end: bool) -> None:
        heartbeats = asyncio.create_task(self._send_heartbeats(conn))
        try:
            if after_unclean_end and not self._settings.kafka_transactions:
                # Without a transactional id nothing fences a predecessor: outlive what it may still have in flight.
                await asyncio.sleep(DELIVERY_SECONDS)
            while True:
                await self._publish_until_broken(conn)
        finally:
            heartbeats.cancel()
            with suppress(asyncio.CancelledError, *UNAVAILABLE):
                await heartbeats

    async def _send_heartbeats(self, conn: Direct) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self._heartbeat(conn)

    async def _heartbeat(self, conn: Direct) -> None:
        async with self._busy:
            asked = uptime()
            await conn.execute("update relay_leader set beat_at = now() where pid = pg_backend_pid()")
        self._last_heartbeat = asked

    async def _confirm_leadership(self, conn: Direct) -> None:
        """Raises ProducerFenced when Postgres did not answer this leader lately and does not now: another may lead."""
        # Again after an answer that was read long after it came.
        while uptime() - self._last_heartbeat > STALE_SECONDS / 2:
            try:
                await self._heartbeat(conn)
            except UNAVAILABLE as error:
                raise ProducerFenced("another relay may lead by now") from error

    async def _confirm_broker(self, life: UUID) -> None:
        """Raises KafkaError when the broker is another one by now, or does not say."""
        try:
            current = await self._watcher.current()
        except TimeoutError as error:
            raise KafkaTimeoutError("the broker does not say which life it is in") from error
        if current != life:
            raise KafkaError("the broker is new")

    async def _publish_until_broken(self, conn: Direct) -> None:
        """Publish until the broker refuses or is another: its fences are gone with what it lost."""
        try:
            life = await self._refill_a_new_broker(conn)
            await self._heartbeat(conn)  # whoever starts a producer fences all others, and only the leader may
            producer = RelayProducer(
                self._settings, service=self._service,
                confirm_leadership=partial(self._confirm_leadership, conn),
                confirm_broker=partial(self._confirm_broker, life),
            )  # fmt: skip
            try:
                await producer.start()
                await self._publish_while_it_lives(conn, producer, life)
            finally:
                with suppress(KafkaError, TimeoutError):
                    async with asyncio.timeout(5):
                        await producer.stop()
        except KafkaError as error:
            log.warning("broker unavailable to the relay", error=type(error).__name__, detail=str(error)[:200])
            await asyncio.sleep(1)
            if conn.is_closed():
                raise

    async def _publish_while_it_lives(self, conn: Direct, producer: RelayProducer, life: UUID) -> None:
        checked = time.monotonic()
        while True:
            self._hint.clear()
            if not await self._drain_gracefully(conn, producer, until=checked + epochs.CHECK_SECONDS):
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._hint.wait()
            if time.monotonic() - checked > epochs.CHECK_SECONDS:
                if await self._refill_a_new_broker(conn) != life:
                    return
                await producer.renew()
                checked = time.monotonic()

    async def _refill_a_new_broker(self, conn: Direct) -> UUID:
        """The broker's life now; when the database knew another, what it retained is unpublished again."""
        current = await self._watcher.current()
        async with self._busy:
            known = await epochs.load_epoch(conn, "relay")
            if known == current:
                return current
            async with conn.transaction():
                if known is not None:
                    rows = await conn.execute(
                        "update outbox set published_at = null where published_at is not null", timeout=REFILL_SECONDS
                    )
                    log.warning("the broker is new: publishing retained rows again", rows=rows.split()[-1])
                await epochs.save_epoch(conn, "relay", current)
        return current

    async def _drain_gracefully(self, conn: Direct, producer: RelayProducer, *, until: float) -> bool:
        """The same as `_drain`, but when cancelled the burst under way is finished: what the broker took is marked."""
        draining = asyncio.create_task(self._drain(conn, producer, until=until))
        try:
            return await asyncio.shield(draining)
        except asyncio.CancelledError:
            self._ending = True
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_BURST_SECONDS):
                    await asyncio.gather(draining, return_exceptions=True)
            raise

    async def _drain(self, conn: Direct, producer: RelayProducer, *, until: float) -> bool:
        """Publish what is unpublished: one burst is under way while the next is read, and then made beside the marking.

        True when cut short by time.
        """
        burst = await burst_of(producer, await self._fetch(conn))
        acknowledged: Sequence[Row] = []
        while burst.rows and not self._ending:
            sending = asyncio.create_task(self._send(producer, burst))
            try:
                more = self._may_be_more(burst.rows) and time.monotonic() < until
                following = await self._fetch(conn, under_way=[*acknowledged, *burst.rows]) if more else []
                # Postgres takes as long to mark a burst as it takes here to make one.
                _, prepared = await asyncio.gather(self._mark(conn, acknowledged), burst_of(producer, following))
            finally:
                await sending
            acknowledged, burst = burst.rows, prepared
        await self._mark(conn, acknowledged)
        return time.monotonic() > until

    async def _fetch(self, conn: Direct, *, under_way: Sequence[Row] = ()) -> Sequence[Row]:
        # Not "above the last one under way": a row below it may have been committed since, and it comes before the
        # later rows of its aggregate. A subquery, since `<> all($1)` is compared one by one in a generic plan.
        async with self._busy:
            rows: Sequence[Row] = await conn.fetch(
                """
                select seq, topic, key, headers, payload, millis from (
                    select seq, topic, key, headers, payload, (extract(epoch from created_at) * 1000)::bigint as millis,
                           sum(coalesce(octet_length(payload), 0)) over (order by seq rows unbounded preceding)
                               - coalesce(octet_length(payload), 0) as bytes_before
                    from outbox where published_at is null and seq not in (select unnest($1::bigint[]))
                    order by seq limit $2
                ) as next where bytes_before < $3 order by seq
                """,
                [row["seq"] for row in under_way],
                self._settings.relay_batch_size,
                BURST_BYTES,
            )
        return rows

    def _may_be_more(self, rows: Sequence[Row]) -> bool:
        """Whether there may be more of them."""
        if len(rows) == self._settings.relay_batch_size:
            return True
        return sum(len(row["payload"] or b"") for row in rows) >= BURST_BYTES

    async def _mark(self, conn: Direct, rows: Sequence[Row]) -> None:
        if rows:
            async with self._busy:
                await conn.execute(
                    "update outbox set published_at = now() where seq = any($1::bigint[])", [row["seq"] for row in rows]
                )
            self.published += len(rows)

    async def _send(self, producer: RelayProducer, burst: Burst) -> None:
        """Have the broker acknowledge all rows; raises KafkaError when it did not take every one.

        A broker that is away is waited for. One that lost its topics would be waited for in vain: here it gets them.
        """
        sending = asyncio.create_task(producer.publish(burst))
        try:
            while not (await asyncio.wait([sending], timeout=SLOW_ACKNOWLEDGEMENT_SECONDS))[0]:
                with suppress(KafkaError, TimeoutError):
                    await self._watcher.current()
            await sending
        finally:
            sending.cancel()


async def _terminate_stale_leader(conn: Direct) -> None:
    """End the leader's connection when it has sent no heartbeat for a while: a stopped process keeps its lock for ever.

    It loses lock and marking in one go; what it may still send when it thaws, the next leader's producer fences. One
    whose statement Postgres is still working on, as a refill's, sends no heartbeat meanwhile, and is not frozen.
    """
    terminated = await conn.fetchval(
        """
        select pg_terminate_backend(l.pid)
        from relay_leader r join pg_locks l on l.pid = r.pid join pg_stat_activity a on a.pid = r.pid
        where r.beat_at < now() - make_interval(secs => $2)
          and l.locktype = 'advisory' and l.granted and ((l.classid::bigint << 32) | l.objid::bigint) = $1
          and l.database = (select oid from pg_database where datname = current_database())
          and not (a.state = 'active' and a.wait_event_type is distinct from 'Client')
        """,
        LOCK,
        STALE_SECONDS,
    )
    if terminated:
        log.warning("a frozen relay was terminated: another one takes over")
