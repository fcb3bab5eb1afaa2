"""People, units and roles put straight into a service's copy of the directory."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from shared.events.vocabulary import Role
from shared.ids import new_id, random_id
from shared.postgres.pool import Pool
from shared.security.machine_tokens import issue_token
from shared.security.principal import Roles
from tests.support.signing_in import PEOPLE


async def add_person(
    pool: Pool,
    login: str,
    *,
    unit: UUID | None = None,
    manager: UUID | None = None,
    status: str = "active",
    locale: str = "en",
    time_zone: str = "Europe/Stockholm",
) -> UUID:
    """A person called after the login."""
    person_id = PEOPLE[login] = random_id()
    await pool.execute(
        """
        insert into people (id, login, given_name, family_name, unit_id, manager_id, status, locale, time_zone)
        values ($1, $2, $2, 'Berg', $3, $4, $5, $6, $7)
        """,
        person_id, login, unit or new_id(), manager, status, locale, time_zone,
    )  # fmt: skip
    return person_id


async def add_unit(pool: Pool, name: str, parent: UUID | None = None, merged_into: UUID | None = None) -> UUID:
    """A unit below `parent`."""
    unit_id = new_id()
    await pool.execute("insert into units values ($1, $2, $3, $4)", unit_id, name, parent, merged_into)
    return unit_id


async def grant(
    pool: Pool, person_id: UUID, roles: Mapping[Role, list[UUID] | None], expires_at: datetime | None = None
) -> None:
    """Roles for a person."""
    stored = {role.value: None if units is None else [str(unit) for unit in units] for role, units in roles.items()}
    await pool.execute(
        "insert into access values ($1, 'person', $2, 'x', null, $3, $4)",
        f"person:{person_id}", person_id, stored, expires_at,
    )  # fmt: skip


async def add_machine(pool: Pool, name: str, roles: Roles, expires_at: datetime | None = None) -> str:
    """A machine; gives its token."""
    token, state = issue_token(name, roles, expires_at)
    await pool.execute(
        "insert into access values ($1, 'machine', null, $2, $3, $4, $5)",
        state.principal, name, bytes.fromhex(state.token_hash or ""), state.model_dump(mode="json")["roles"],
        expires_at,
    )  # fmt: skip
    return token
