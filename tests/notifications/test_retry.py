"""A second series of attempts, asked for by hand: worker, mail server and what `medled verify` makes of it."""

import json

from httpx import AsyncClient

from deploy.embedded.process import free_port
from deploy.verify import verify
from services.notifications.service import SERVICE
from services.notifications.settings import NotificationsSettings
from shared.events.vocabulary import Role
from shared.postgres.pool import Pool
from shared.settings import Settings
from tests.notifications.conftest import Directory, Sending, invite, until
from tests.notifications.mail_server import MailServer
from tests.support.backbone import running
from tests.support.directory import add_machine
from tests.support.serving import client_of
from tests.support.settings import make_settings


async def test_refused_for_good_retried_by_hand_and_refused_again_is_two_facts_and_no_doubling(
    dsn: str, broker: str, pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    server.recipient_answer = lambda _: "550 5.1.1 no such user"
    await invite(pool, directory)
    notification = await pool.fetchval("select id from deliveries")
    operator = {"authorization": f"Bearer {await add_machine(pool, 'a machine', {Role.operator: None})}"}
    worker = make_settings(Settings, dsn, port=free_port(), kafka_bootstrap=broker)
    async with (
        running(worker, "notifications"),
        client_of(SERVICE.create_api(make_settings(NotificationsSettings, dsn)), headers=operator) as client,
        sending(),
    ):
        await until(lambda: _failed(pool))
        for _ in range(2):
            await _retry(client, str(notification))
            await until(lambda: _failed(pool))
        report = await verify({"notifications": dsn}, broker, {}, wait=20)
    told = [json.loads(row["payload"]) for row in await pool.fetch("select payload from outbox order by seq")]
    assert [(each["attempt"], each["reason"]) for each in told] == [
        (1, "mailbox_unavailable"), (1, "retry_requested"), (2, "mailbox_unavailable"), (2, "retry_requested"),
        (3, "mailbox_unavailable"),
    ]  # fmt: skip
    assert len(server.tried) == 3
    assert report.clean, report.as_json()
    assert report.published == 5


async def _retry(client: AsyncClient, notification: str) -> None:
    answer = await client.post(f"/notifications/v1/deliveries/{notification}/retry")
    assert answer.status_code == 200, answer.text


async def _failed(pool: Pool) -> bool:
    return bool(await pool.fetchval("select bool_and(status = 'failed') from deliveries"))
