"""Every SQL statement that changes who holds which role; `shared.security.authorization` reads them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from services.enrolment.access.domain import Access
from shared.events import PrincipalKind, SignIn
from shared.http.pagination import Page, fetch_page
from shared.postgres.pool import Connection
from shared.security.principal import known_roles

_ACCESS = """
    principal, kind, person_id, name, token_hash, roles, expires_at, sessions_from,
    array(select issuer from sign_ins s where s.person_id = access.person_id order by issuer),
    array(select subject from sign_ins s where s.person_id = access.person_id order by issuer)
"""


async def lock_person(conn: Connection, person_id: UUID) -> str | None:
    """The person's name, for the time two grants to one person must not cross; None when there is nobody."""
    name: str | None = await conn.fetchval(
        "select trim(given_name || ' ' || family_name) from people where id = $1 for no key update", person_id
    )
    return name


async def find(conn: Connection, principal: str) -> Access | None:
    row = await conn.fetchrow(f"select {_ACCESS} from access where principal = $1 for update", principal)  # noqa: S608
    return _access(row) if row is not None else None


async def page(conn: Connection, after: str | None, limit: int) -> Page[Access]:
    return await fetch_page(
        conn,
        f"""
        select {_ACCESS} from access
        where ($1::text is null or principal > $1) and roles <> '{{}}' order by principal limit $2
        """,  # noqa: S608
        after,
        limit=limit,
        item=_access,
        by=("principal",),
    )


async def put(conn: Connection, access: Access) -> None:
    await conn.execute(
        """
        insert into access (principal, kind, person_id, name, token_hash, roles, expires_at, sessions_from)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (principal) do update set name = excluded.name, token_hash = excluded.token_hash,
            roles = excluded.roles, expires_at = excluded.expires_at, sessions_from = excluded.sessions_from
        """,
        access.principal,
        access.kind.value,
        access.person_id,
        access.name,
        access.token_hash,
        {role.value: None if units is None else sorted(map(str, units)) for role, units in access.roles.items()},
        access.expires_at,
        access.sessions_from,
    )


async def remove(conn: Connection, principal: str) -> None:
    await conn.execute("delete from access where principal = $1", principal)


async def unknown_units(conn: Connection, unit_ids: Sequence[UUID]) -> list[UUID]:
    """Which of these are no units."""
    rows = await conn.fetch(
        "select id from unnest($1::uuid[]) as asked(id) where not exists (select from units u where u.id = asked.id)",
        unit_ids,
    )
    return [row["id"] for row in rows]


def _access(row: Any) -> Access:
    principal, kind, person_id, name, token_hash, roles, expires_at, sessions_from, issuers, subjects = row
    sign_ins = tuple(SignIn(issuer=each[0], subject=each[1]) for each in zip(issuers, subjects, strict=True))
    return Access(
        principal, PrincipalKind(kind), person_id, name, token_hash, known_roles(roles), expires_at, sign_ins,
        sessions_from,
    )  # fmt: skip
