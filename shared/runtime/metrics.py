"""What a worker is watched by, as OpenTelemetry metrics: what waits, how far behind it is, what was set aside."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from opentelemetry.metrics import CallbackOptions, Observation

from shared.events.vocabulary import REASONS
from shared.messaging.catch_up import CatchUp
from shared.messaging.consumer import Consumer
from shared.messaging.outbox import outbox_backlog
from shared.messaging.relay import Relay
from shared.messaging.subscription import Subscription
from shared.observability import telemetry
from shared.postgres.failures import UNAVAILABLE
from shared.postgres.pool import Pool

SAMPLE_SECONDS = 15.0


class Gauges:
    """Samples one worker for as long as `run` runs. What cannot be read right now keeps its last value."""

    def __init__(
        self, pool: Pool, relay: Relay, consumer: Consumer, subscription: Subscription, catch_up: CatchUp
    ) -> None:
        self._pool = pool
        self._relay = relay
        self._consumer = consumer
        self._subscription = subscription
        self._catch_up = catch_up
        self._lacking: dict[str, int] = {}
        meter = telemetry.meter()
        self._waiting = meter.create_gauge("medled.outbox.waiting", "{event}", "Events not on Kafka yet, to 10,000")
        self._oldest = meter.create_gauge("medled.outbox.oldest", "s", "Age of the oldest event not on Kafka yet")
        self._lag: int | None = None
        meter.create_observable_gauge(
            "medled.consumer.lag", [self._behind], "{record}", "Records behind the ends of the partitions held"
        )
        meter.create_observable_gauge(
            "medled.handlers.lag",
            [self._lacks],
            "{record}",
            "Records that a handler lacks of what its service has read",
        )
        self._set_aside = meter.create_gauge("medled.set_aside", "{record}", "Records set aside, by state")
        self._dead = meter.create_gauge("medled.dead_letters", "{record}", "Dead letters, by reason")
        meter.create_observable_counter(
            "medled.consumer.records", [self._handled], "{record}", "Records handled by this process"
        )
        meter.create_observable_counter(
            "medled.relay.published", [self._published], "{event}", "Events published by this process"
        )
        meter.create_observable_gauge(
            "medled.relay.leading", [self._leading], "{worker}", "1 in the worker that publishes"
        )

    async def run(self) -> None:
        """Sample now and then again and again."""
        while True:
            with suppress(*UNAVAILABLE):
                await self.sample()
            await asyncio.sleep(SAMPLE_SECONDS)

    async def sample(self) -> None:
        """Read everything once. Raises when the database is away."""
        async with self._pool.acquire() as conn:
            backlog = await outbox_backlog(conn)
            aside = await conn.fetch(
                """
                select states.state, count(s.id) as records
                from unnest(array['parked', 'dead']) as states(state) left join set_aside s on s.state = states.state
                group by states.state
                """
            )
            lacking = await self._catch_up.lags(conn)
            dead = await conn.fetch("select reason, count(*) from set_aside where state = 'dead' group by reason")
        self._waiting.set(backlog["waiting"])
        self._oldest.set(backlog["oldest_seconds"])
        for row in aside:
            self._set_aside.set(row["records"], {"state": row["state"]})
        for reason, records in (dict.fromkeys(REASONS, 0) | {row[0]: row[1] for row in dead}).items():
            self._dead.set(records, {"reason": reason})
        self._lacking = dict.fromkeys(self._lacking, 0) | lacking  # who has caught up is told once more
        self._lag = await self._subscription.lag_or_none()

    def _behind(self, _: CallbackOptions) -> Iterable[Observation]:
        return [] if self._lag is None else [Observation(self._lag)]  # who holds no partition is not behind

    def _lacks(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(records, {"handler": handler}) for handler, records in self._lacking.items()]

    def _handled(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self._consumer.handled)]

    def _published(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self._relay.published)]

    def _leading(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(int(self._relay.leading))]
