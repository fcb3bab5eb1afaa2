"""The portal as it is composed: what its worker listens to, and how its processes end."""

import asyncio
import os
import signal
import sys

import httpx

from deploy.embedded.process import free_port
from services.portal.dashboard import handlers as dashboard
from services.portal.service import SERVICE
from services.portal.settings import PortalSettings
from services.portal.stream import handlers as stream
from shared.events.vocabulary import Role
from shared.postgres.pool import Pool
from tests.portal.serving import server_sent
from tests.support.directory import add_machine


def test_figures_and_stream_are_made_of_public_events_only() -> None:
    handled = [event for handler in (*dashboard.handlers(), *stream.handlers()) for event in handler.events]
    assert handled
    assert not [event for event in handled if event.restricted]


def test_the_stream_and_the_figures_are_described_for_programs(settings: PortalSettings) -> None:
    paths = SERVICE.create_api(settings).openapi()["paths"]
    assert "text/event-stream" in paths["/portal/v1/stream"]["get"]["responses"]["200"]["content"]
    assert {"/portal/v1/overview", "/portal/v1/events"} <= set(paths)
    assert not [path for path in paths if path in ("/", "/login", "/callback", "/logout")]


def test_the_worker_can_be_built(settings: PortalSettings, pool: Pool) -> None:
    assert "medled.enrolment.v1" in SERVICE.create_worker(settings, pool).consumer.topics


async def test_a_stop_ends_open_streams_at_once_with_a_hint_to_resume(settings: PortalSettings, pool: Pool) -> None:
    token = await add_machine(pool, "reader", {Role.stream_reader: None})
    port = free_port()
    environment = (
        {name: value for name, value in os.environ.items() if not name.startswith("MEDLED_")}
        | {
            f"MEDLED_{name.upper()}": value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
            for name, value in settings.model_dump(
                exclude_none=True, exclude={"upstreams", "kafka_sasl_mechanism"}
            ).items()
        }
        | {"MEDLED_PORT": str(port)}
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.portal", "api", env=environment, stderr=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    origin = f"http://127.0.0.1:{port}"
    try:
        await until_alive(origin)
        async with (
            httpx.AsyncClient(base_url=origin, trust_env=False, headers={"authorization": f"Bearer {token}"}) as client,
            client.stream("GET", "/portal/v1/stream") as response,
        ):
            reading = asyncio.create_task(server_sent(response, 3))
            await asyncio.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                events = await reading
                assert await process.wait() in (0, -signal.SIGTERM)
        assert events[-1]["event"] == "resume"
        assert events[-1]["data"]["reason"] == "restarting"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until_alive(origin: str) -> None:
    async with asyncio.timeout(20), httpx.AsyncClient(base_url=origin, trust_env=False) as client:
        while True:
            try:
                if (await client.get("/health/live")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.1)
