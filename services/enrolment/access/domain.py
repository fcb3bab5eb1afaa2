"""What granting and revoking a role does to the roles somebody holds, and who may do it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.errors import RuleError
from shared.events import AccessState, PrincipalKind, Role, SignIn

Held = Mapping[Role, frozenset[UUID] | None]
"""Each role with the units it holds for, and all below them; None: everywhere."""


class HeldEverywhereError(RuleError):
    """The role cannot be taken away for one unit alone."""

    type = "held-everywhere"
    title = "The role is held everywhere"


class NotHeldError(RuleError):
    """There is nothing to take away."""

    status = 404
    type = "not-held"
    title = "The role is not held"


@dataclass(frozen=True, slots=True)
class Access:
    """What one principal holds: a person with the accounts that sign them in, or a machine with its token's hash.

    sessions_from: sessions of the person from before have ended.
    """

    principal: str
    kind: PrincipalKind
    person_id: UUID | None
    name: str
    token_hash: bytes | None
    roles: Held
    expires_at: datetime | None = None
    sign_ins: tuple[SignIn, ...] = ()
    sessions_from: datetime | None = None

    @property
    def says_something(self) -> bool:
        """Whether there is anything to announce: nothing at all is a tombstone."""
        return bool(self.roles or self.sign_ins or self.sessions_from)


def granted(held: Held, role: Role, unit_id: UUID | None) -> Held:
    """`held` with `role` for that unit too; for everywhere when None, which includes every unit."""
    units = held.get(role, frozenset())
    return {**held, role: None if unit_id is None or units is None else units | {unit_id}}


def revoked(held: Held, role: Role, unit_id: UUID | None) -> Held:
    """`held` without `role` for that unit; without it altogether when None.

    Raises NotHeldError, HeldEverywhereError.
    """
    if role not in held:
        raise NotHeldError(f"The role {role.value} is not held.", field="role", remedy="Look at what is held.")
    units = held[role]
    if unit_id is None:
        return {name: where for name, where in held.items() if name is not role}
    if units is None:
        raise HeldEverywhereError(
            f"The role {role.value} is held everywhere, so it cannot end for one unit.",
            field="unit_id",
            remedy="Revoke it everywhere, then grant it for the units where it is to stay.",
        )
    if unit_id not in units:
        raise NotHeldError(
            f"The role {role.value} is not held for this unit.", field="unit_id", remedy="Name another unit."
        )
    left = units - {unit_id}
    return {name: left if name is role else where for name, where in held.items() if name is not role or left}


def grantors(role: Role) -> tuple[Role, ...]:
    """Who may grant and revoke a role, for units where they hold theirs.

    Only an operator makes operators: the programme office must not reach further than it was given.
    """
    return (Role.operator,) if role is Role.operator else (Role.operator, Role.programme_office)


def state_of(access: Access) -> AccessState:
    return AccessState(
        principal=access.principal,
        kind=access.kind,
        person_id=access.person_id,
        name=access.name,
        token_hash=access.token_hash.hex() if access.token_hash else None,
        roles={role.value: None if units is None else tuple(sorted(units)) for role, units in access.roles.items()},
        expires_at=access.expires_at,
        sign_ins=access.sign_ins,
        sessions_from=access.sessions_from,
    )
