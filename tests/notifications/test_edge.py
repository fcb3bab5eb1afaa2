"""The one stated edge, on real parts: between the server's acceptance and our commit."""

import asyncio
import sys
from asyncio.subprocess import Process
from pathlib import Path

from shared.postgres.pool import Pool, create_pool
from shared.settings import Settings
from tests.notifications.conftest import Directory, Sending, invite, sender_for, statuses, until
from tests.notifications.mail_server import ACCEPT, MailServer
from tests.notifications.test_sender import message_ids, settled
from tests.support.databases import Databases
from tests.support.settings import make_settings

HERE = Path(__file__).parent


async def test_a_worker_killed_after_the_server_accepted_has_its_mail_sent_again_under_the_same_message_id(
    dsn: str, pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    await invite(pool, directory, 3)
    worker: Process | None = None

    def answer(_: str) -> str:
        if len(server.accepted) == 1 and worker is not None and worker.returncode is None:
            worker.kill()  # the second mail is accepted here, and nobody lives to hear of it
        return ACCEPT

    server.answer = answer
    worker = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "sender_process.py"), dsn, str(server.port), "3", cwd=HERE.parent.parent,
        env={"PYTHONPATH": str(HERE.parent.parent)},
    )  # fmt: skip
    assert await worker.wait() == -9
    await until(lambda: len(server.accepted) >= 2)
    left = await statuses(pool)
    assert left.count("sending") >= 1
    async with sending():
        await until(lambda: settled(pool))
    assert await statuses(pool) == ["sent"] * 3
    seen = message_ids(server)
    doubled = {one for one in seen if seen.count(one) > 1}
    counted = {row["message_id"] for row in await pool.fetch("select message_id from deliveries where resent > 0")}
    assert doubled
    assert doubled <= counted  # whatever may have arrived twice is counted; what was only claimed is counted with it
    assert await pool.fetchval("select count(*) from outbox") == 3


async def test_what_was_accepted_while_the_database_was_away_is_settled_when_it_is_back(
    own_postgres: Databases, server: MailServer
) -> None:
    pool = await create_pool(make_settings(Settings, await own_postgres("notifications")), name="tests")
    await invite(pool, Directory(pool), 2)

    def answer(_: str) -> str:
        if len(server.accepted) == 0:
            own_postgres.server.child.kill()
        return ACCEPT

    server.answer = answer
    async with sender_for(pool, server.port):
        await until(lambda: len(server.accepted) >= 1)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(own_postgres.server.start)
        await until(lambda: _all_sent(pool))
    assert len(server.accepted) == 2
    assert await pool.fetchval("select max(resent) from deliveries") == 0
    await pool.close()


async def _all_sent(pool: Pool) -> bool:
    try:
        return set(await statuses(pool)) == {"sent"}
    except OSError:
        return False
