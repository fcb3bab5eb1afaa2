"""Somebody else's account became theirs, or theirs ended: told where they were known before, and kept no longer."""

import json
from typing import Any

import pytest
from httpx import AsyncClient

from shared.events import SignInChanged
from shared.ids import new_id
from shared.postgres.pool import Pool
from tests.notifications.conftest import Directory, Sending, route, until
from tests.notifications.factories import NOW, received
from tests.notifications.mail_server import ACCEPT, MailServer
from tests.notifications.test_delivery_log import LOG, client, operator
from tests.notifications.test_sender import settled

__all__ = ["client", "operator"]

BEFORE = "anna.before@example.org"


async def told(pool: Pool, directory: Directory, change: str = "replaced", **person: Any) -> None:
    """The notice to the address of before, queued; the person has another today unless said otherwise."""
    person_id = await directory.person(**{"email": "mallory@example.org", **person})
    notice = SignInChanged(notice_id=new_id(), person_id=person_id, change=change, address=BEFORE)
    await route(pool, [received(notice), received(notice.model_copy(update={"notice_id": new_id(), "address": None}))])


async def everything_kept(pool: Pool) -> str:
    rows = [
        row
        for table in ("messages", "deliveries", "outbox")
        for row in await pool.fetch(f"select kept::text from {table} as kept")
    ]
    return json.dumps([str(row[0]) for row in rows])


@pytest.mark.parametrize("change", ["replaced", "ended"])
async def test_each_address_gets_its_mail_and_the_one_of_before_is_kept_until_then(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending, change: str
) -> None:
    await told(pool, directory, change)
    assert await pool.fetchval("select count(*) from deliveries where known_address = $1", BEFORE) == 1
    async with sending():
        await until(lambda: settled(pool))
    assert {recipient for recipient, _ in server.accepted} == {BEFORE, "mallory@example.org"}
    outcomes = await pool.fetch("select type from outbox")
    assert [row["type"] for row in outcomes] == ["medled.notification.sent.v1"] * 2
    assert BEFORE not in await everything_kept(pool)


@pytest.mark.parametrize("person", [{"status": "inactive"}, {"email": None}])
async def test_neither_leaving_nor_losing_the_address_of_today_keeps_it_from_the_person(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending, person: dict[str, Any]
) -> None:
    await told(pool, directory, **person)
    async with sending():
        await until(lambda: settled(pool))
    assert BEFORE in [recipient for recipient, _ in server.accepted]


async def test_whoever_is_erased_before_it_is_sent_is_not_written_to_and_no_address_of_theirs_stays(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    await told(pool, directory)
    await pool.execute("delete from people")
    async with sending():
        await until(lambda: settled(pool))
    assert server.accepted == []
    assert BEFORE not in await everything_kept(pool)


async def test_what_is_put_off_keeps_its_address_and_what_was_given_up_is_tried_nowhere_else(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending, client: AsyncClient,
    operator: dict[str, str],
) -> None:  # fmt: skip
    await told(pool, directory)
    server.answer = lambda recipient: "451 later" if recipient == BEFORE else ACCEPT
    async with sending():
        await until(lambda: settled(pool))
        assert await pool.fetchval("select known_address from deliveries where status = 'deferred'") == BEFORE
        server.answer = lambda recipient: "550 no" if recipient == BEFORE else ACCEPT
        await pool.execute("update deliveries set next_attempt_at = $1 where status = 'deferred'", NOW)
        await until(lambda: failed(pool))
    assert BEFORE not in await everything_kept(pool)
    notice = await pool.fetchval("select id from deliveries where status = 'failed'")
    server.answer = lambda _: ACCEPT
    headers = operator | {"idempotency-key": "again"}
    assert (await client.post(f"{LOG}/{notice}/retry", headers=headers)).status_code == 200
    async with sending():
        await until(lambda: gone_to_nobody(pool))
    assert len(server.accepted) == 1


async def failed(pool: Pool) -> bool:
    return bool(await pool.fetchval("select count(*) from deliveries where status = 'failed'"))


async def gone_to_nobody(pool: Pool) -> bool:
    rows = await pool.fetch("select reason from deliveries where status = 'suppressed'")
    return [row["reason"] for row in rows] == ["no_address"]


async def test_the_log_shows_whom_it_is_for_and_no_address(
    pool: Pool, directory: Directory, client: AsyncClient, operator: dict[str, str]
) -> None:
    await told(pool, directory)
    listed = await client.get(LOG, headers=operator)
    assert [(one["kind"], one["recipient_id"] is None) for one in listed.json()["items"]] == [
        ("sign_in_changed", False)
    ] * 2
    one = await client.get(f"{LOG}/{listed.json()['items'][1]['id']}", headers=operator)
    page = await client.get("/notifications/deliveries?lang=en", headers=operator)
    assert "Sign-in changed" in page.text
    for text in (listed.text, one.text, page.text):
        assert BEFORE not in text
        assert "mallory" not in text


async def test_the_same_notice_again_and_a_change_of_tomorrow_make_no_mail(pool: Pool, directory: Directory) -> None:
    person_id = await directory.person()
    notice = SignInChanged(notice_id=new_id(), person_id=person_id, change="replaced", address=BEFORE)
    event, unknown = received(notice), received(notice.model_copy(update={"change": "of_tomorrow"}))
    await route(pool, [event, event, unknown])
    await route(pool, [event])
    assert await pool.fetchval("select count(*) from deliveries") == 1
