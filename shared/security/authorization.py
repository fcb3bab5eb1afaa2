"""Authorisation, decided here and now from the service's own copy of `medled.access.v1` and the units' tree.

Deny by default. Manager and co-leader are not granted: they follow from the reporting line and the enrolments.
"""

from uuid import UUID

from shared.directory.unit_tree import is_under, units_below
from shared.errors import ProblemError
from shared.events.vocabulary import Role
from shared.postgres.pool import Connection
from shared.security.principal import Principal


async def require(conn: Connection, who: Principal, *roles: Role, unit: UUID | None = None) -> None:
    """Let pass who `holds` one of `roles` for `unit`. Raises ProblemError 403."""
    if not await holds(conn, who, *roles, unit=unit):
        raise ProblemError(
            403, "forbidden", "You may not do this", "This needs a role that you do not hold here.",
            remedy=f"Ask for the role {' or '.join(role.value for role in roles)}.",
        )  # fmt: skip


async def holds(conn: Connection, who: Principal, *roles: Role, unit: UUID | None = None) -> bool:
    """Whether somebody holds one of `roles` everywhere, or for `unit` or a unit above it.

    Without `unit` the matter concerns the whole organisation, and a role held for some units is not enough.
    """
    held = [who.roles[role] for role in roles if role in who.roles]
    if any(units is None for units in held):
        return True
    scope = frozenset[UUID]().union(*(units for units in held if units))
    return unit is not None and bool(scope) and await is_under(conn, unit, scope)


async def units_of(conn: Connection, who: Principal, *roles: Role) -> frozenset[UUID] | None:
    """The units whose matters `who` may see by one of `roles`, those below included; None: all. Empty: none."""
    held = [who.roles[role] for role in roles if role in who.roles]
    if any(units is None for units in held):
        return None
    scope = frozenset[UUID]().union(*(units for units in held if units))
    if not scope:
        return frozenset()
    return await units_below(conn, scope)


async def is_manager_of(conn: Connection, who: Principal, person_id: UUID) -> bool:
    """Whether the person reports to `who` today."""
    if who.person_id is None or who.person_id == person_id:
        return False
    found: bool = await conn.fetchval(
        "select exists (select from people where id = $1 and manager_id = $2)", person_id, who.person_id
    )
    return found
