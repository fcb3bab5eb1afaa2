"""Whoever gets hold of the databases long after a round learns nothing of who was asked in it."""

from collections.abc import Collection
from datetime import timedelta
from functools import partial
from uuid import UUID

from services.notifications.routing.handlers import FORGET, forget
from shared.clock import Clock
from shared.messaging import outbox
from shared.postgres.pool import Pool
from shared.timers import Timers
from tests.attack.test_public_stream import Organisation, organisation

__all__ = ["organisation"]

KEPT = timedelta(days=120)


async def rows_with(pool: Pool, ids: Collection[UUID | str]) -> dict[str, set[str]]:
    """Of every table the rows, as text, that hold one of these ids."""
    tables = await pool.fetch("select tablename from pg_tables where schemaname = 'public'")
    wanted = [str(id_) for id_ in ids]
    found = {
        row["tablename"]: {
            kept["row"]
            for kept in await pool.fetch(f'select t::text as row from "{row["tablename"]}" as t')
            if any(id_ in kept["row"] for id_ in wanted)
        }
        for row in tables
    }
    return {table: rows for table, rows in found.items() if rows}


async def time_passes(organisation: Organisation) -> None:
    """What workers do by themselves: outboxes are pruned, timers come due."""
    for pool in (organisation.house.pool, organisation.notifications):
        await pool.execute("update outbox set published_at = now() - interval '1 day'")
        await outbox.prune(pool, Clock().now())
    notifications = organisation.notifications
    await notifications.execute("update messages set created_at = created_at - $1::interval", KEPT + timedelta(days=1))
    await notifications.execute("update messages set pointless_after = pointless_after - $1::interval", KEPT)
    for table in ("invitations", "revoked_invitations"):
        await notifications.execute(f"update {table} set seen_at = seen_at - $1::interval", KEPT + timedelta(days=1))
    await notifications.execute("update invitations set closes_at = closes_at - $1::interval", KEPT)
    await Timers(notifications, Clock(), {FORGET: partial(forget, KEPT)}).tick(FORGET)


async def test_four_months_later_no_database_says_who_was_asked_about_whom(organisation: Organisation) -> None:
    house = organisation.house
    rounds = await organisation.open_rounds([house.co_leader, house.peers[0]])
    await organisation.mail()
    asked = await organisation.notifications.fetch("select recipient_id, params from messages where params ? 'group'")
    invitations = {row["params"]["invitation_id"] for row in asked}
    respondents = {row["recipient_id"] for row in asked} - rounds.keys()  # the subjects' rounds are public
    assert len(invitations) == 20
    for round_id in rounds.values():
        await house.close(round_id)
    await organisation.mail()
    assert set(await rows_with(organisation.notifications, invitations)) >= {"messages", "invitations"}  # until then

    await time_passes(organisation)
    for pool in (house.pool, organisation.notifications):
        of_rounds = [row for rows in (await rows_with(pool, rounds.values())).values() for row in rows]
        of_invitations = [row for rows in (await rows_with(pool, invitations)).values() for row in rows]
        assert [row for row in of_rounds if any(str(person) in row for person in respondents)] == []
        told = {*map(str, rounds.values()), *map(str, rounds), *map(str, respondents)}
        assert [row for row in of_invitations if any(id_ in row for id_ in told)] == []
    assert (await rows_with(organisation.notifications, [*respondents, *rounds.values(), *invitations])).keys() == {
        "people"
    }
    assert await organisation.notifications.fetchval("select sum(deliveries) from forgotten_deliveries") == 22
