"""Authorisation, decided here and now from the service's own copy of `medled.access.v1` and the units' tree.

Deny by default. Manager and co-leader are not granted: they follow from the reporting line and the enrolments.
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Literal
from uuid import UUID

from shared.db import Connection
from shared.events.access import AccessState
from shared.events.words import PrincipalKind, Role
from shared.ids import new_id
from shared.problems import Problem

__all__ = ["Principal", "Role", "Roles", "audit", "audit_all", "is_manager_of", "issue_token", "require", "units_of"]

Roles = Mapping[Role, frozenset[UUID] | None]
"""Each role with the units it holds for, and all below them; None: everywhere."""

_KNOWN = frozenset(role.value for role in Role)

TOKEN_PREFIX = "mlt_"  # noqa: S105 - what a token begins with, so that scanners find one that leaked


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. `id` is `person:<uuid>` or `machine:<uuid>`; a machine has no `person_id`."""

    kind: Literal["person", "machine"]
    id: str
    person_id: UUID | None
    name: str
    locale: str = "sv"
    roles: Roles = field(default_factory=lambda: MappingProxyType({}))
    time_zone: str = "Europe/Stockholm"
    has_reports: bool = False
    """Whether anybody reports to this person: enough to show a menu entry, never to allow anything."""

    def has(self, role: Role) -> bool:
        """Whether the role is held anywhere at all: enough to show a menu entry, never to allow anything."""
        return role in self.roles


def known_roles(stored: Mapping[str, list[str] | None]) -> Roles:
    """Roles as the access table has them; one that this version does not know grants nothing."""
    return MappingProxyType(
        {
            Role(name): None if units is None else frozenset(UUID(unit) for unit in units)
            for name, units in stored.items()
            if name in _KNOWN
        }
    )


async def require(conn: Connection, who: Principal, *roles: Role, unit: UUID | None = None) -> None:
    """Let pass who holds one of `roles` everywhere, or for `unit` or a unit above it.

    Without `unit` the matter concerns the whole organisation, and a role held for some units is not enough.
    Raises Problem 403.
    """
    held = [who.roles[role] for role in roles if role in who.roles]
    if any(units is None for units in held):
        return
    scope = frozenset[UUID]().union(*(units for units in held if units))
    if unit is not None and scope and await _is_under(conn, unit, scope):
        return
    raise Problem(
        403, "forbidden", "You may not do this", "This needs a role that you do not hold here.",
        remedy=f"Ask for the role {' or '.join(role.value for role in roles)}.",
    )  # fmt: skip


async def _is_under(conn: Connection, unit: UUID, scope: Iterable[UUID]) -> bool:
    # `union` drops rows already seen, so a tree that was turned into a circle by mistake still ends.
    found: bool = await conn.fetchval(
        """
        with recursive above(id) as (
            select $1::uuid
            union
            select next.id from above join units u using (id)
            cross join lateral (values (u.parent_id), (u.merged_into)) as next(id) where next.id is not null
        )
        select exists (select from above where id = any($2::uuid[]))
        """,
        unit,
        list(scope),
    )
    return found


async def units_of(conn: Connection, who: Principal, *roles: Role) -> frozenset[UUID] | None:
    """The units whose matters `who` may see by one of `roles`, those below included; None: all. Empty: none."""
    held = [who.roles[role] for role in roles if role in who.roles]
    if any(units is None for units in held):
        return None
    scope = frozenset[UUID]().union(*(units for units in held if units))
    if not scope:
        return frozenset()
    rows = await conn.fetch(
        """
        with recursive below(id) as (
            select unnest($1::uuid[])
            union
            select u.id from below join units u on u.parent_id = below.id or u.merged_into = below.id
        )
        select id from below
        """,
        list(scope),
    )
    return frozenset(row["id"] for row in rows)


async def is_manager_of(conn: Connection, who: Principal, person_id: UUID) -> bool:
    """Whether the person reports to `who` today."""
    if who.person_id is None or who.person_id == person_id:
        return False
    found: bool = await conn.fetchval(
        "select exists (select from people where id = $1 and manager_id = $2)", person_id, who.person_id
    )
    return found


async def audit(conn: Connection, who: Principal, action: str, subject: UUID, now: datetime) -> None:
    """Put on record that `who` did `action` (a stable word such as `results.read`) to what belongs to `subject`."""
    await conn.execute(
        "insert into audit_log (id, at, principal, action, subject) values ($1, $2, $3, $4, $5)",
        new_id(), now, who.id, action, subject,
    )  # fmt: skip


async def audit_all(conn: Connection, who: Principal, action: str, subjects: Sequence[UUID], now: datetime) -> None:
    """The same for many subjects at once, such as a page of a list."""
    await conn.execute(
        """
        insert into audit_log (id, at, principal, action, subject)
        select id, $3, $4, $5, subject from unnest($1::uuid[], $2::uuid[]) as t(id, subject)
        """,
        [new_id() for _ in subjects], subjects, now, who.id, action,
    )  # fmt: skip


def token_digest(token: str) -> bytes:
    """What is stored of a machine's token. It is random enough (32 bytes) to need no slow hash."""
    return hashlib.sha256(token.encode()).digest()


def issue_token(name: str, roles: Roles, expires_at: datetime | None) -> tuple[str, AccessState]:
    """A new machine token: the text to show once, and the state to store and announce."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    state = AccessState(
        principal=f"machine:{new_id()}",
        kind=PrincipalKind.machine,
        name=name,
        token_hash=token_digest(token).hex(),
        roles={role.value: None if units is None else tuple(sorted(units)) for role, units in roles.items()},
        expires_at=expires_at,
    )
    return token, state
