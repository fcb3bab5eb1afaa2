"""The stream keeps a window of time and says where it begins."""

from datetime import timedelta

from opentelemetry.context import Context

from services.portal.stream import store
from services.portal.stream.domain import PUBLIC, StreamFilter
from services.portal.stream.handlers import PRUNE, append_entries, prune
from shared.events import EnrolmentRequested, InvitationIssued, PersonState
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction
from shared.timers import Due
from tests.portal.facts import NOW, Organisation

KEEP = timedelta(days=30)


async def record(pool: Pool, age: timedelta, count: int) -> None:
    organisation = Organisation()
    for _ in range(count):
        organisation.enrolment(EnrolmentRequested)
    async with transaction(pool) as conn:
        await append_entries(conn, organisation.told, NOW - age)


async def ends(conn: Connection) -> tuple[int, int]:
    page = await store.read_after(conn, 0, 1, StreamFilter())
    return page.pruned_to, page.head


async def test_what_is_older_than_the_window_goes_and_the_edge_is_known(pool: Pool) -> None:
    await record(pool, timedelta(days=40), 3)
    await record(pool, timedelta(days=1), 2)
    async with transaction(pool) as conn:
        await prune(KEEP, conn, [Due(PRUNE, "stream", NOW, {}, 0, Context())], NOW)
        assert await ends(conn) == (3, 5)
        assert await conn.fetchval("select due_at from timers where kind = $1", PRUNE) > NOW


async def test_a_fresh_database_has_its_first_pruning_due(pool: Pool) -> None:
    async with transaction(pool) as conn:
        assert await conn.fetchval("select due_at <= now() from timers where kind = $1", PRUNE)


async def test_pruning_everything_leaves_the_head_where_it_was(pool: Pool) -> None:
    await record(pool, timedelta(days=40), 3)
    async with transaction(pool) as conn:
        assert await store.prune(conn, NOW, limit=100) == 3
        assert await store.prune(conn, NOW, limit=100) == 0
        assert await ends(conn) == (3, 3)


async def test_an_old_entry_behind_a_new_one_waits_so_that_the_window_has_no_holes(pool: Pool) -> None:
    await record(pool, timedelta(days=40), 1)
    await record(pool, timedelta(days=1), 1)
    await record(pool, timedelta(days=40), 1)
    async with transaction(pool) as conn:
        assert await store.prune(conn, NOW - KEEP, limit=100) == 1
        assert await ends(conn) == (1, 3)


def test_restricted_topics_are_no_part_of_the_stream() -> None:
    assert InvitationIssued not in PUBLIC
    assert PersonState not in PUBLIC
    assert EnrolmentRequested in PUBLIC
