"""The tree of units: what lies above a unit and below it. A unit that was merged into another lies below that one.

`union` drops rows already seen, so a tree that was turned into a circle by mistake still ends.
"""

from collections.abc import Iterable
from uuid import UUID

from shared.postgres.pool import Connection


def above(start: str) -> str:
    """`above(origin, id)` for a `with recursive`: each unit that the query `start` gives, with itself and all above it.

    start: a query of ours with one column, the units' ids.
    """
    return f"""above(origin, id) as (
            select start.id, start.id from ({start}) as start(id)
            union
            select above.origin, next.id from above join units u on u.id = above.id
            cross join lateral (values (u.parent_id), (u.merged_into)) as next(id) where next.id is not null
        )"""  # noqa: S608 - `start` is a constant of ours


async def is_under(conn: Connection, unit: UUID, scope: Iterable[UUID]) -> bool:
    """Whether a unit is one of these or lies below one."""
    found: bool = await conn.fetchval(
        f"with recursive {above('select $1::uuid')} select exists (select from above where id = any($2::uuid[]))",  # noqa: S608
        unit,
        list(scope),
    )
    return found


async def units_below(conn: Connection, roots: Iterable[UUID]) -> frozenset[UUID]:
    """These units and all that lie below them."""
    rows = await conn.fetch(
        """
        with recursive below(id) as (
            select unnest($1::uuid[])
            union
            select u.id from below join units u on u.parent_id = below.id or u.merged_into = below.id
        )
        select id from below
        """,
        list(roots),
    )
    return frozenset(row["id"] for row in rows)
