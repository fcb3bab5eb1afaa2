"""Who was asked about whom is forgotten: of mail about rounds only the number stays."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from httpx import AsyncClient

from services.notifications.routing.handlers import FORGET, forget
from services.notifications.settings import NotificationsSettings
from shared.clock import Clock
from shared.events import InvitationRevoked
from shared.events.topics import load_topics
from shared.postgres.pool import Pool
from shared.timers import Timers
from tests.notifications.conftest import Directory, route
from tests.notifications.factories import NOW, invitation, received
from tests.notifications.test_delivery_log import LOG, client, operator, place
from tests.support.settings import make_settings

__all__ = ["client", "operator"]

KEPT = timedelta(days=120)
TODAY = Clock().now()
LONG_AGO = TODAY - KEPT - timedelta(days=1)


async def asked(pool: Pool, directory: Directory, at: Any, *, open_days: int = 14, settled: bool = True) -> Any:
    """An invitation issued then and mailed, or still waiting to be; gives its event."""
    event = received(
        invitation(await directory.person(), await directory.person(), closes_at=at + timedelta(days=open_days))
    )
    await route(pool, [event], now=at)
    if settled:
        await pool.execute(
            """
            update deliveries d set status = 'sent', next_attempt_at = null, settled_at = $2
            from messages m where m.id = notification_id and m.caused_by = $1
            """,
            event.id,
            at,
        )
    return event


async def tick(pool: Pool) -> None:
    await Timers(pool, Clock(), {FORGET: partial(forget, KEPT)}).tick(FORGET)


async def everything_kept(pool: Pool) -> str:
    tables = ("messages", "deliveries", "invitations", "revoked_invitations", "forgotten_deliveries")
    return "".join([str(row[0]) for name in tables for row in await pool.fetch(f"select t::text from {name} as t")])


async def test_after_its_time_nothing_says_who_was_asked_about_whom_and_the_numbers_stay(
    pool: Pool, directory: Directory, client: AsyncClient, operator: dict[str, str]
) -> None:
    old = [await asked(pool, directory, LONG_AGO) for _ in range(3)]
    revoked = InvitationRevoked(invitation_id=old[0].data.invitation_id, round_id=old[0].data.round_id)
    await route(pool, [received(revoked)], now=LONG_AGO)
    young = await asked(pool, directory, TODAY)
    place_of = await place(pool, directory)
    await pool.execute("update messages set created_at = $1 where kind = 'enrolment_active'", LONG_AGO)
    before = (await client.get(f"{LOG}/summary", headers=operator)).json()
    await tick(pool)
    assert (await client.get(f"{LOG}/summary", headers=operator)).json() == before
    kept = await everything_kept(pool)
    for event in old:
        for gone in (event.data.respondent_id, event.data.subject_person_id, event.data.invitation_id, event.id):
            assert str(gone) not in kept
    for stays in (young.data.respondent_id, young.data.invitation_id, place_of):
        assert str(stays) in kept
    counted = await pool.fetch("select month, kind, channel, status, deliveries from forgotten_deliveries")
    assert [tuple(row) for row in counted] == [(LONG_AGO.date().replace(day=1), "invitation", "mail", "sent", 3)]


@pytest.mark.parametrize("stays", [{"open_days": 200}, {"settled": False}], ids=["its round is open", "it waits"])
async def test_what_is_still_to_be_sent_or_answered_stays(
    pool: Pool, directory: Directory, stays: dict[str, Any]
) -> None:
    event = await asked(pool, directory, LONG_AGO, **stays)
    await tick(pool)
    assert str(event.data.respondent_id) in await everything_kept(pool)


async def test_an_invitation_whose_round_is_open_is_still_issued_once_whatever_its_age(
    pool: Pool, directory: Directory
) -> None:
    event = await asked(pool, directory, LONG_AGO, open_days=200)
    await tick(pool)
    forged = received(event.data.model_copy(update={"respondent_id": await directory.person()}))
    [refused] = await route(pool, [forged])
    assert refused.reason == "conflict"


async def test_it_happens_every_day_from_the_upgrade_on(pool: Pool, directory: Directory) -> None:
    await tick(pool)  # the migration scheduled it
    again = await pool.fetchval("select due_at from timers where kind = $1", FORGET)
    assert timedelta(hours=23) < again - Clock().now() <= timedelta(days=1)
    await asked(pool, directory, LONG_AGO)
    await tick(pool)
    assert await pool.fetchval("select count(*) from messages") == 1, "not before the next day"
    await pool.execute("update timers set due_at = $1 where kind = $2", NOW, FORGET)
    await tick(pool)
    await tick(pool)
    assert await pool.fetchval("select count(*) from messages") == 0


async def test_how_long_is_said_once_and_the_topic_keeps_invitations_for_as_long(dsn: str) -> None:
    settings = make_settings(NotificationsSettings, dsn)
    assert settings.round_mail_kept == KEPT
    invitations = load_topics()["medled.invitations.v1"]
    assert invitations.configuration["retention.ms"] == str(120 * 86_400_000)


async def test_a_topics_file_that_keeps_invitations_for_ever_stops_the_worker(dsn: str, tmp_path: Any) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text("medled.invitations.v1: {carries: invitations, restricted: true}\n")
    with pytest.raises(ValueError, match=r"medled\.invitations\.v1 has no kept_days"):
        _ = make_settings(NotificationsSettings, dsn, topics_file=file).round_mail_kept
