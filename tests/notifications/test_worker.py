"""The worker as it is started: from records on a broker to mails, once each, whatever is delivered twice."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from deploy.embedded.process import free_port
from shared.clock import Clock
from shared.events import InvitationIssued, PersonState, PersonStatus
from shared.ids import new_id
from shared.postgres.pool import Pool
from shared.settings import Settings
from tests.notifications.factories import LINK_SECRET, invitation
from tests.notifications.mail_server import MailServer
from tests.notifications.test_sender import message_ids
from tests.support.backbone import publish, running, until
from tests.support.databases import Databases
from tests.support.settings import make_settings


def person(given_name: str) -> PersonState:
    person_id = new_id()
    return PersonState(
        person_id=person_id, employee_id=person_id.hex, given_name=given_name, family_name="Berg",
        email=f"{given_name}.{person_id.hex}@example.org", unit_id=new_id(), status=PersonStatus.active, locale="en",
        time_zone="Europe/Stockholm",
    )  # fmt: skip


@asynccontextmanager
async def worker_process(dsn: str, broker: str, mail_port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m services.notifications worker`, asked to end on leaving."""
    settings = {
        "ENVIRONMENT": "development", "DATABASE_URL": dsn, "KAFKA_BOOTSTRAP": broker, "KAFKA_TRANSACTIONS": "false",
        "PUBLIC_URL": "https://medled.example.org", "OIDC_ISSUER": "http://127.0.0.1:1", "PORT": str(free_port()),
        "SESSION_SECRET": "only-for-tests-only-for-tests-only-for-tests", "LINK_SECRET": LINK_SECRET.decode(),
        "MAIL_SENDER": "no-reply@example.org", "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(mail_port),
        "SMTP_SECURITY": "none",
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.notifications", "worker",
        env=os.environ | {f"MEDLED_{name}": value for name, value in settings.items()},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        output, _ = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0, output.decode()
        assert "@example.org" not in output.decode()
        assert "/feedback/r/" not in output.decode()


async def published(pool: Pool) -> bool:
    return not await pool.fetchval("select count(*) from outbox where published_at is null")


async def test_each_invitation_on_the_broker_becomes_one_mail_even_when_every_record_comes_twice_and_early(
    database: Databases, broker: str, server: MailServer
) -> None:
    dsn = await database("notifications")
    feedback = make_settings(Settings, await database("feedback"), kafka_bootstrap=broker, port=free_port())
    subject, *respondents = (person(name) for name in ("Kim", "Ada", "Bo", "Cai", "Disa", "Eva"))
    closes_at = Clock().now() + timedelta(days=14)
    invitations: list[InvitationIssued] = [
        invitation(one.person_id, subject.person_id, closes_at=closes_at) for one in respondents
    ]
    async with running(feedback, "feedback") as pool, worker_process(dsn, broker, server.port):
        await publish(pool, invitations)  # before anybody has told who these people are: parked until then
        await until(lambda: published(pool))
        await publish(pool, [subject, *respondents])
        await until(lambda: _accepted(server, 5))
        await pool.execute("update outbox set published_at = null")
        await until(lambda: published(pool))
        again = invitation(subject.person_id, subject.person_id, closes_at=closes_at)
        await publish(pool, [again])
        await until(lambda: _accepted(server, 6))
    assert sorted(recipient.split(".")[0] for recipient, _ in server.accepted) == [
        "Ada", "Bo", "Cai", "Disa", "Eva", "Kim",
    ]  # fmt: skip
    assert len(set(message_ids(server))) == 6


async def _accepted(server: MailServer, number: int) -> bool:
    return len(server.accepted) >= number


async def test_a_worker_says_which_setting_it_lacks() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.notifications", "worker",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"MEDLED_DATABASE_URL" in said
