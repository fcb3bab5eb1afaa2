"""A sender in a process of its own, for tests that kill it: `python sender_process.py DSN SMTP_PORT LEASE_SECONDS`."""

import asyncio
import sys
from datetime import timedelta

from services.notifications.channels.mail.sender import MailSender, SenderSettings
from services.notifications.channels.mail.smtp import ServerSettings
from shared.clock import Clock
from shared.postgres.pool import create_pool
from shared.settings import Settings
from tests.notifications.factories import COMPOSER
from tests.support.settings import make_settings


async def main(dsn: str, port: int, lease: float) -> None:
    pool = await create_pool(make_settings(Settings, dsn), name="sender")
    server = ServerSettings("127.0.0.1", port, "none", None, None, None, timeout=lease / 12)
    settings = SenderSettings(server, connections=2, batch=20, lease=timedelta(seconds=lease), poll_seconds=0.02)
    await MailSender(pool, COMPOSER, settings, Clock()).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
