"""Real SMTP: delivered once, retried when refused for now, given up when refused for good, honest about its edge."""

import asyncio
import email
import email.policy
import json
from pathlib import Path
from typing import Any

import pytest

from shared.events import InvitationRevoked
from shared.observability import telemetry
from shared.postgres.pool import Pool
from shared.security.invitation_tokens import token_for
from shared.settings import Settings
from tests.notifications.conftest import Directory, Sending, invite, route, statuses, until
from tests.notifications.factories import LINK_SECRET, received
from tests.notifications.mail_server import ACCEPT, MailServer
from tests.support.settings import make_settings

UNTOUCHED = "select status, attempts, resent from deliveries"


async def events(pool: Pool) -> list[dict[str, Any]]:
    rows = await pool.fetch("select type, payload, caused_by from outbox order by seq")
    return [
        {"type": row["type"].split(".")[-2], "caused_by": row["caused_by"], **json.loads(row["payload"])}
        for row in rows
    ]


async def settled(pool: Pool) -> bool:
    return not await pool.fetchval("select count(*) from deliveries where status in ('queued', 'sending')")


def message_ids(server: MailServer) -> list[str]:
    return [str(email.message_from_bytes(m, policy=email.policy.SMTP)["Message-ID"]) for _, m in server.accepted]


async def test_a_queued_message_is_delivered_once_and_announced(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    (cause,) = await invite(pool, directory)
    async with sending():
        await until(lambda: settled(pool))
        await asyncio.sleep(0.2)
    ((recipient, message),) = server.accepted
    row = await pool.fetchrow("select m.*, d.* from deliveries d join messages m on m.id = notification_id")
    assert row is not None
    assert (row["status"], row["attempts"], row["resent"], row["lease_until"]) == ("sent", 1, 0, None)
    assert recipient == await pool.fetchval("select email from people where id = $1", row["recipient_id"])
    parsed = email.message_from_bytes(message, policy=email.policy.SMTP)
    assert parsed["Message-ID"] == row["message_id"]
    (event,) = await events(pool)
    assert (event["type"], event["kind"], event["recipient_id"]) == ("sent", "invitation", None)
    assert event["caused_by"] == cause


async def test_a_message_that_cannot_be_judged_fails_alone(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    await invite(pool, directory, 3)
    odd = "(select notification_id from deliveries order by id limit 1)"
    await pool.execute(f"update messages set pointless_after = 'infinity' where id = {odd}")  # comes back naive
    async with sending():
        await until(lambda: settled(pool))
    assert sorted(await statuses(pool)) == ["deferred", "sent", "sent"]
    assert await pool.fetchval(f"select reason from deliveries where notification_id = {odd}") == "internal_error"


async def test_no_row_and_no_event_and_no_log_line_holds_a_token_a_link_or_an_address(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending, capfd: pytest.CaptureFixture[str]
) -> None:
    await invite(pool, directory, 3)
    server.answer = lambda recipient: ACCEPT if recipient < "p8" else f"550 5.1.1 <{recipient}> unknown"
    server.recipient_answer = lambda recipient: f"451 not now, {recipient}" if recipient[1] > "a" else ACCEPT
    async with sending():
        await until(lambda: settled(pool))
    said = "".join(capfd.readouterr())
    for table in ("messages", "deliveries", "outbox"):
        said += json.dumps([str(tuple(row)) for row in await pool.fetch(f"select * from {table}")])
    invitations = await pool.fetch("select (params ->> 'invitation_id')::uuid as id from messages")
    tokens = [token_for(LINK_SECRET, row["id"]) for row in invitations]
    addresses = [row["email"] for row in await pool.fetch("select email from people")]
    assert not [secret for secret in (*tokens, *addresses, "/feedback/r/") if secret in said]


async def test_refused_for_now_is_deferred_with_its_reason_and_delivered_later(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending, tmp_path: Path
) -> None:
    clock_file = tmp_path / "clock"
    await invite(pool, directory)
    server.answer = lambda _: "451 4.7.1 come back later"
    async with sending(clock_file=clock_file):
        await until(lambda: settled(pool))
        row = await pool.fetchrow("select m.*, d.* from deliveries d join messages m on m.id = notification_id")
        assert row is not None
        assert (row["status"], row["reason"], row["reply_code"], row["attempts"]) == ("deferred", "server_busy", 451, 1)
        server.answer = lambda _: ACCEPT
        await asyncio.sleep(0.2)
        assert server.accepted == []
        clock_file.write_text("40")
        await until(lambda: len(server.accepted) == 1)
        await until(lambda: _is(pool, "sent"))
    assert [event["type"] for event in await events(pool)] == ["deferred", "sent"]
    assert (await events(pool))[0]["reason"] == "server_busy"


async def _is(pool: Pool, status: str) -> bool:
    return await statuses(pool) == [status]


async def test_refused_for_good_is_failed_at_once_and_the_connection_serves_the_next_one(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    server.recipient_answer = lambda recipient: "550 5.1.1 no such user" if server.tried == [recipient] else ACCEPT
    await invite(pool, directory, 3)
    async with sending(connections=1):
        await until(lambda: settled(pool))
    assert sorted(await statuses(pool)) == ["failed", "sent", "sent"]
    failed = next(event for event in await events(pool) if event["type"] == "failed")
    assert failed["reason"] == "mailbox_unavailable"
    assert server.connections == 1


async def test_after_eight_attempts_it_is_given_up(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending, tmp_path: Path
) -> None:
    clock_file = tmp_path / "clock"
    clock_file.write_text("0")
    await invite(pool, directory)
    server.answer = lambda _: "451 not today"
    async with sending(clock_file=clock_file):
        for day in range(1, 9):
            await until(lambda day=day: _attempts(pool, day))  # type: ignore[misc]
            clock_file.write_text(str(day * 8 * 3600))
        await until(lambda: _is(pool, "failed"))
    assert len(server.tried) == 8
    assert [event["type"] for event in await events(pool)] == ["deferred"] * 7 + ["failed"]


async def _attempts(pool: Pool, number: int) -> bool:
    row = await pool.fetchrow("select attempts, status from deliveries")
    return row is not None and row["attempts"] == number and row["status"] in ("deferred", "failed")


async def test_a_hung_server_times_out_and_what_it_may_have_taken_is_counted(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    await invite(pool, directory, 2)
    server.answer = lambda recipient: "hang" if recipient == server.tried[0] else ACCEPT
    async with sending(connections=2, timeout=0.5):
        await until(lambda: settled(pool))
    rows = await pool.fetch("select status, reason, resent from deliveries order by status")
    assert [tuple(row) for row in rows] == [("deferred", "timeout", 1), ("sent", None, 0)]


async def test_a_line_dropped_after_acceptance_is_sent_again_under_the_same_message_id(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending, tmp_path: Path
) -> None:
    clock_file = tmp_path / "clock"
    await invite(pool, directory)
    server.answer = lambda _: "drop after accepting" if not server.accepted else ACCEPT
    async with sending(clock_file=clock_file):
        await until(lambda: _is(pool, "deferred"))
        clock_file.write_text("60")
        await until(lambda: _is(pool, "sent"))
    first, second = message_ids(server)
    assert first == second
    row = await pool.fetchrow("select resent, attempts from deliveries")
    assert row is not None
    assert tuple(row) == (1, 2)


async def test_a_server_that_is_away_costs_no_attempt_and_is_noticed_when_back(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    await invite(pool, directory, 5)
    await server.stop()
    async with sending():
        await until(lambda: _server_is(pool, reachable=False))
        await asyncio.sleep(0.3)
        assert {tuple(row) for row in await pool.fetch(UNTOUCHED)} == {("queued", 0, 0)}
        await server.start()
        await until(lambda: settled(pool))
        await until(lambda: _server_is(pool, reachable=True))
    assert await statuses(pool) == ["sent"] * 5
    assert {event["attempt"] for event in await events(pool)} == {1}
    assert len(server.accepted) == 5


async def _server_is(pool: Pool, *, reachable: bool) -> bool:
    return await pool.fetchval("select reachable from mail_server") is reachable


async def test_a_sender_that_the_server_refuses_fails_no_mail(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    await invite(pool, directory, 2)
    server.sender_answer = "550 not from here"
    async with sending():
        await until(lambda: _server_is(pool, reachable=False))
        assert await pool.fetchval("select reason from mail_server") == "sender_refused"
        server.sender_answer = ACCEPT
        await until(lambda: settled(pool))
    assert await statuses(pool) == ["sent", "sent"]


async def test_a_connection_that_the_server_closed_meanwhile_is_opened_again(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    async with sending(connections=1):
        await invite(pool, directory)
        await until(lambda: _count(pool, "sent", 1))
        await server.stop()
        await server.start()
        await invite(pool, directory)
        await until(lambda: _count(pool, "sent", 2))
    assert await pool.fetchval("select max(attempts) from deliveries") == 1


async def _count(pool: Pool, status: str, number: int) -> bool:
    return (await statuses(pool)).count(status) == number


async def test_a_silent_senders_mail_is_sent_again_with_the_same_message_id_and_counted(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    await invite(pool, directory)
    # What a worker killed between the server's acceptance and our commit leaves behind.
    await pool.execute(
        """
        update deliveries set status = 'sending', attempts = 1, next_attempt_at = null,
            lease_until = now() - interval '1 s'
        """
    )
    async with sending():
        await until(lambda: _is(pool, "sent"))
    row = await pool.fetchrow("select message_id, attempts, resent from deliveries")
    assert row is not None
    assert (row["attempts"], row["resent"]) == (2, 1)
    assert message_ids(server) == [row["message_id"]]


async def test_a_lease_that_has_not_ended_is_respected(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending, tmp_path: Path
) -> None:
    clock_file = tmp_path / "clock"
    clock_file.write_text("864000")  # business time may jump; a lease is real time
    await invite(pool, directory)
    await pool.execute("update deliveries set status = 'sending', lease_until = now() + interval '1 min'")
    async with sending(clock_file=clock_file):
        await asyncio.sleep(0.5)
    assert server.accepted == []


async def test_two_workers_side_by_side_send_nothing_twice(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    await invite(pool, directory, 60)
    async with sending(batch=7, connections=3), sending(batch=7, connections=3):
        await until(lambda: settled(pool))
    assert await statuses(pool) == ["sent"] * 60
    assert len(set(message_ids(server))) == len(server.accepted) == 60
    assert len(await events(pool)) == 60


async def test_stopping_finishes_what_is_under_way_and_gives_back_the_rest(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    await invite(pool, directory, 30)
    async with sending(connections=2, batch=30):
        await until(lambda: len(server.accepted) >= 3)
    left = await statuses(pool)
    assert set(left) <= {"sent", "queued"}
    assert left.count("sent") == len(server.accepted)
    assert await pool.fetchval("select max(attempts) from deliveries where status = 'queued'") in (0, None)


async def test_an_invitation_revoked_while_it_was_deferred_is_not_sent(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    await invite(pool, directory)
    invitation_id = await pool.fetchval("select (params ->> 'invitation_id')::uuid from messages")
    # The revocation's own update came too early to see a row that was being sent; the row is judged when retried.
    await pool.execute("insert into revoked_invitations values ($1)", invitation_id)
    async with sending():
        await until(lambda: _is(pool, "suppressed"))
    assert server.accepted == []
    await route(pool, [received(InvitationRevoked(invitation_id=invitation_id, round_id=invitation_id))])
    assert await pool.fetchval("select reason from deliveries") == "invitation_revoked"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "inactive"}, "recipient_inactive"),
        ({"email": "nobody"}, "bad_address"),
        ({"email": None}, "no_address"),
    ],
)
async def test_what_changed_after_queueing_counts(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending, change: dict[str, Any], reason: str
) -> None:
    await invite(pool, directory)
    ((column, value),) = change.items()
    await pool.execute(f"update people set {column} = $1", value)
    async with sending():
        await until(lambda: _is(pool, "suppressed"))
    assert await pool.fetchval("select reason from deliveries") == reason
    assert server.accepted == []


async def test_a_round_that_closed_meanwhile_is_not_asked_about(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending, tmp_path: Path
) -> None:
    clock_file = tmp_path / "clock"
    clock_file.write_text(str(15 * 24 * 3600))
    await invite(pool, directory)
    async with sending(clock_file=clock_file):
        await until(lambda: _is(pool, "suppressed"))
    assert await pool.fetchval("select reason from deliveries") == "too_late"


async def test_a_few_hundred_mails_go_out_quickly_over_few_connections(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending
) -> None:
    await invite(pool, directory, 300)
    started = asyncio.get_running_loop().time()
    async with sending(connections=4, batch=100):
        await until(lambda: settled(pool), seconds=30)
    assert asyncio.get_running_loop().time() - started < 15  # the test's own server is the slow part
    assert len(server.accepted) == 300
    assert server.connections <= 4


@pytest.mark.parametrize("kind", ["invitation", "enrolment_waitlisted"])
async def test_the_delivery_is_told_within_the_trace_of_its_cause_and_of_round_mail_only_there(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending, tmp_path: Path, kind: str
) -> None:
    """What is published about mail of a round begins a trace of its own; a link in the telemetry joins the two."""
    file = tmp_path / "spans.jsonl"
    running = telemetry.setup(make_settings(Settings, "postgresql://x", span_file=file), "notifications-worker")
    trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    await invite(pool, directory)
    await pool.execute("update messages set traceparent = $1, kind = $2", f"00-{trace_id}-{parent_id}-01", kind)
    async with sending():
        await until(lambda: settled(pool))
    running.tracer_provider.force_flush()
    telemetry.teardown()
    spans = {one["name"]: one for one in map(json.loads, file.read_text().splitlines())}
    span = spans["deliver mail"]
    assert (span["trace_id"], span["parent_id"]) == (trace_id, parent_id)
    assert span["attributes"]["medled.outcome"] == "accepted"
    assert "@" not in json.dumps(span["attributes"])
    (headers,) = [row["headers"] for row in await pool.fetch("select headers from outbox")]
    if kind == "invitation":
        apart = spans["announce mail"]
        assert apart["links"] == [{"trace_id": trace_id, "span_id": span["span_id"]}]
        assert f"traceparent: 00-{apart['trace_id']}-{apart['span_id']}-" in headers
        assert not any(joins in headers for joins in (trace_id, "undertaking", "causationid"))
    else:
        assert f"traceparent: 00-{trace_id}-{span['span_id']}-01" in headers
        assert "ce_correlationid: undertaking" in headers
