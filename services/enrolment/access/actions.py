"""Granting and revoking, audited and announced.

Whether the asker may is the edge's question: the console's first grant has nobody to ask.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from services.enrolment.access import domain, store
from services.enrolment.access.domain import Access, Held, NotHeldError
from shared.errors import NotFoundError
from shared.events import AccessState, PrincipalKind, Role
from shared.messaging import outbox
from shared.postgres.pool import Connection
from shared.security.audit import audit
from shared.security.machine_tokens import issue_token
from shared.security.principal import Principal

CONSOLE = Principal("machine", "machine:console", None, "console", "en")
"""Who acts when a command writes to the database itself; the operating system has decided that it may."""


async def grant(
    conn: Connection, who: Principal, person_id: UUID, role: Role, unit_id: UUID | None, *, now: datetime
) -> Access:
    """The person holds `role` for the unit and all below it, everywhere when None.

    Raises NotFoundError. Safe to repeat.
    """
    access = await of_person(conn, person_id)
    await _must_exist(conn, [unit_id] if unit_id is not None else [])
    return await _change(conn, who, access, domain.granted(access.roles, role, unit_id), "access.granted", now)


async def revoke(
    conn: Connection, who: Principal, person_id: UUID, role: Role, unit_id: UUID | None, *, now: datetime
) -> Access:
    """The person no longer holds it. Raises NotFoundError, NotHeldError, HeldEverywhereError."""
    access = await of_person(conn, person_id)
    return await _change(conn, who, access, domain.revoked(access.roles, role, unit_id), "access.revoked", now)


async def issue(
    conn: Connection,
    who: Principal,
    name: str,
    role: Role,
    unit_ids: Sequence[UUID] | None,
    *,
    expires_at: datetime | None,
    now: datetime,
) -> tuple[str, Access]:
    """A machine's token, to be shown once, and what it holds. Raises NotFoundError for a unit that is none."""
    await _must_exist(conn, unit_ids or [])
    roles: Held = {role: None if unit_ids is None else frozenset(unit_ids)}
    token, state = issue_token(name, roles, expires_at)
    token_hash = bytes.fromhex(state.token_hash or "")
    access = Access(state.principal, PrincipalKind.machine, None, name, token_hash, roles, expires_at)
    await store.put(conn, access)
    await outbox.add(conn, state, now=now)
    await audit(conn, who, "token.issued", _audited(access), now)
    return token, access


async def withdraw(conn: Connection, who: Principal, principal: str, *, now: datetime) -> None:
    """A machine's token ends at once. Raises NotHeldError."""
    access = await store.find(conn, principal)
    if access is None or access.kind is not PrincipalKind.machine:
        raise NotHeldError("There is no such token.", remedy="Look at the list of tokens.")
    await store.remove(conn, principal)
    await outbox.add_tombstones(conn, AccessState, [principal], now=now)
    await audit(conn, who, "token.withdrawn", _audited(access), now)


async def of_person(conn: Connection, person_id: UUID) -> Access:
    """What the person holds, locked. Raises NotFoundError."""
    name = await store.lock_person(conn, person_id)
    if name is None:
        raise NotFoundError("There is no person with this id.", field="person_id", remedy="Import the person first.")
    principal = f"person:{person_id}"
    held = await store.find(conn, principal)
    return held or Access(principal, PrincipalKind.person, person_id, name, None, {})


async def _must_exist(conn: Connection, unit_ids: Sequence[UUID]) -> None:
    if await store.unknown_units(conn, unit_ids):
        raise NotFoundError("There is no unit with this id.", field="unit_id", remedy="Choose one from the list.")


async def _change(conn: Connection, who: Principal, access: Access, roles: Held, action: str, now: datetime) -> Access:
    changed = replace(access, roles=roles)
    if roles == access.roles:
        return changed
    await announce(conn, changed, now=now)
    await audit(conn, who, action, _audited(access), now)
    return changed


async def announce(conn: Connection, access: Access, *, now: datetime) -> None:
    """Store what a principal holds from now on, and tell the services."""
    if access.says_something:
        await store.put(conn, access)
        await outbox.add(conn, domain.state_of(access), now=now)
    else:
        await store.remove(conn, access.principal)
        await outbox.add_tombstones(conn, AccessState, [access.principal], now=now)


def _audited(access: Access) -> UUID:
    return access.person_id or UUID(access.principal.removeprefix("machine:"))
