"""What 0.1 had queued and sent, in the tables of today; and what processes of 0.1 do that still run then."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from httpx import AsyncClient

from services.notifications.service import SERVICE
from services.notifications.settings import NotificationsSettings
from shared.events.vocabulary import Role
from shared.ids import new_id
from shared.postgres.failures import is_unavailable
from shared.postgres.migrate import migrate
from shared.postgres.pool import Pool, create_pool
from shared.settings import Settings
from tests.notifications.conftest import sender_for, until
from tests.notifications.mail_server import MailServer
from tests.notifications.test_sender import message_ids
from tests.support.databases import Databases
from tests.support.directory import add_machine
from tests.support.serving import client_of
from tests.support.settings import make_settings


@pytest.fixture
async def old(database: Databases) -> str:
    """What 0.1.0 had stored, with one mail that still waits and one that was given up."""
    dsn = await database.released("0.1.0", "notifications")
    conn = await asyncpg.connect(dsn)
    await conn.execute(
        """
        update notifications set status = 'deferred', reason = 'server_busy', reply_code = 451, attempts = 2,
            resent = 1, next_attempt_at = now() - interval '1 minute', settled_at = null
        where id = (select id from notifications where kind = 'enrolment_active' order by id limit 1);
        update notifications set status = 'failed', reason = 'mailbox_full', attempts = 8, series_from = 3
        where id = (select id from notifications where kind = 'enrolment_declined' order by id limit 1)
        """
    )
    await conn.close()
    return dsn


async def log(dsn: str, query: str) -> dict[Any, dict[str, Any]]:
    conn = await asyncpg.connect(dsn)
    rows = await conn.fetch(query)
    await conn.close()
    return {row["id"]: dict(row) for row in rows}


async def test_every_message_of_before_has_one_delivery_under_its_own_id_with_all_that_was_known(old: str) -> None:
    before = await log(old, "select * from notifications")
    await asyncio.to_thread(migrate, old, SERVICE)
    after = await log(
        old, "select m.*, d.*, m.id as message from deliveries d join messages m on m.id = notification_id"
    )
    assert len(after) == len(before) > 150
    for id_, row in before.items():
        assert after[id_]["message"] == id_
        assert {name: after[id_][name] for name in row} == row
        assert after[id_]["channel"] == "mail"


@pytest.fixture
async def upgraded(old: str) -> AsyncIterator[Pool]:
    await asyncio.to_thread(migrate, old, SERVICE)
    pool = await create_pool(make_settings(Settings, old), name="tests")
    yield pool
    await pool.close()


async def test_what_waited_is_sent_once_under_its_message_id_and_what_was_given_up_can_be_tried_again(
    old: str, upgraded: Pool, server: MailServer
) -> None:
    waiting = await upgraded.fetchrow("select * from deliveries where status = 'deferred'")
    failed = await upgraded.fetchrow("select * from deliveries where status = 'failed'")
    assert waiting is not None
    assert failed is not None
    async with sender_for(upgraded, server.port):
        await until(lambda: _sent(upgraded, waiting["id"]))
        headers = {"authorization": f"Bearer {await add_machine(upgraded, 'a machine', {Role.operator: None})}"}
        async with client_of(SERVICE.create_api(make_settings(NotificationsSettings, old)), headers=headers) as client:
            await _try_again(client, failed["id"])
        await until(lambda: _sent(upgraded, failed["id"]))
    assert message_ids(server) == [waiting["message_id"], failed["message_id"]]
    told = await upgraded.fetch(
        "select subject from outbox where type = 'medled.notification.sent.v1' order by seq desc limit 2"
    )
    assert [row["subject"] for row in told] == [str(failed["id"]), str(waiting["id"])]


async def _sent(pool: Pool, delivery: Any) -> bool:
    return bool(await pool.fetchval("select status = 'sent' from deliveries where id = $1", delivery))


async def _try_again(client: AsyncClient, delivery: Any) -> None:
    answer = await client.post(f"/notifications/v1/deliveries/{delivery}/retry", headers={"idempotency-key": "again"})
    assert answer.status_code == 200, answer.text


# As 0.1.1 wrote them (commit d142d7e, channels/store.py and routing/store.py), without the columns that are all alike.
QUEUE = """
    insert into notifications (id, kind, recipient_id, locale, params, status, reason, next_attempt_at, pointless_after,
        message_id, caused_by, correlation_id, traceparent, tracestate, public_id, known_address, created_at,
        settled_at)
    select id, 'invitation', null, 'sv', '{}', 'queued', null, now(), null, '<a@b>', gen_random_uuid(), 'c', null, null,
        null, null, now(), null
    from unnest($1::uuid[]) as t(id)
    on conflict (caused_by) do nothing
"""
CLAIM = """
    with due as (
        select id from notifications where status in ('queued', 'deferred') and next_attempt_at <= now()
        order by next_attempt_at limit 200 for update skip locked
    ), claimed as (
        update notifications n set status = 'sending', attempts = attempts + 1, next_attempt_at = null,
            lease_until = clock_timestamp() + interval '5 minutes'
        from due where n.id = due.id and n.id = any($1::uuid[]) returning n.*
    )
    select c.* from claimed c
"""
SETTLE = """
    update notifications n set status = 'sent', lease_until = null, settled_at = now() from unnest($1::uuid[]) as o(id)
    where n.id = o.id and n.status = 'sending' returning n.id
"""
SUPPRESS = """
    update notifications set status = 'suppressed', next_attempt_at = null, settled_at = now()
    where kind = 'invitation' and status in ('queued', 'deferred')
      and params ->> 'invitation_id' = any($1::uuid[]::text[])
"""


@pytest.mark.parametrize("statement", [QUEUE, CLAIM, SETTLE, SUPPRESS], ids=["queue", "claim", "settle", "suppress"])
async def test_a_worker_of_before_that_still_runs_is_told_to_wait_and_takes_nothing_for_faulty(
    upgraded: Pool, statement: str
) -> None:
    with pytest.raises(asyncpg.CannotConnectNowError) as told:
        await upgraded.fetch(statement, [new_id()])
    assert is_unavailable(told.value)


async def test_what_such_a_worker_does_before_it_is_told_is_no_fault_either(upgraded: Pool) -> None:
    """It remembers invitations first, with the columns that it knows of."""
    await upgraded.execute("insert into invitations (id, round_id, issued_by) values ($1, $1, $1)", new_id())
    await upgraded.execute("insert into revoked_invitations (id) values ($1)", new_id())
