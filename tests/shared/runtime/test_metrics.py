"""What a worker and an API are watched by. Real Postgres, no broker."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from services.feedback.service import SERVICE as FEEDBACK
from services.portal.service import SERVICE as PORTAL
from shared.events import EnrolmentRequested
from shared.events.vocabulary import REASONS
from shared.http.app import Api, create_app
from shared.messaging import outbox
from shared.messaging.dead_letters import Owner, dead_letter
from shared.observability import telemetry
from shared.postgres.pool import Pool, create_pool
from shared.postgres.transaction import transaction
from shared.runtime.metrics import Gauges
from shared.runtime.worker import Worker
from shared.settings import Settings
from tests.shared.records import raw_record
from tests.support.backbone import requested
from tests.support.databases import Databases
from tests.support.settings import make_settings


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    """Reads what this test's instruments measured."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(telemetry, "meter_provider", lambda: provider)
    return reader


@pytest.fixture
async def settings(database: Databases) -> Settings:
    return make_settings(Settings, await database("portal"))


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    pool = await create_pool(settings, name="test")
    yield pool
    await pool.close()


def measured(reader: InMemoryMetricReader) -> dict[tuple[str, str], Any]:
    """The last points, by metric and attributes."""
    data = reader.get_metrics_data()
    assert data is not None
    return {
        (metric.name, ",".join(map(str, (point.attributes or {}).values()))): point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


async def test_backlog_dead_letters_and_leadership_can_be_watched(
    reader: InMemoryMetricReader, settings: Settings, pool: Pool
) -> None:
    worker = Worker(settings, pool, service=PORTAL, handlers=[], timers={})
    async with transaction(pool) as conn:
        await outbox.add(conn, *[requested() for _ in range(3)], now=datetime.now(UTC))
        for number in range(2):
            record = raw_record(EnrolmentRequested.topic, b"k", bytes([number]), [])
            await dead_letter(
                conn, record, Owner("portal", worker.consumer.epoch), reason="undecodable", detail="", attempts=1,
                now=datetime.now(UTC),
            )  # fmt: skip
        await conn.execute("update outbox set created_at = created_at - $1::interval", timedelta(minutes=5))
    worker.relay.leading, worker.relay.published, worker.consumer.handled = True, 7, 11
    gauges = Gauges(pool, worker.relay, worker.consumer, worker.subscription, worker.catch_up)
    await gauges.sample()
    seen: dict[tuple[str, str], Any] = {key: getattr(point, "value", None) for key, point in measured(reader).items()}
    assert seen.pop(("medled.outbox.oldest", "")) > 299
    assert seen == {
        ("medled.outbox.waiting", ""): 5,  # two tell of the dead letters
        **{("medled.dead_letters", reason): 2 * (reason == "undecodable") for reason in REASONS},
        ("medled.set_aside", "dead"): 2,
        ("medled.set_aside", "parked"): 0,
        ("medled.consumer.records", ""): 11,
        ("medled.relay.published", ""): 7,
        ("medled.relay.leading", ""): 1,
    }


async def test_requests_are_timed_by_route_and_never_by_path(reader: InMemoryMetricReader, settings: Settings) -> None:
    router = APIRouter()

    @router.get("/feedback/r/{token}")
    async def answer(token: str) -> str:
        return "fine"

    app = create_app(settings, FEEDBACK, Api(title="t", description="d", routers=[router]))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        await client.get("/feedback/r/a-secret-token")
        await client.get("/nowhere/a-secret-token")
    points = [key for key in measured(reader) if key[0] == "http.server.request.duration"]
    assert any("/feedback/r/{token}" in attributes for _, attributes in points)
    assert not any("secret" in attributes for _, attributes in measured(reader))
