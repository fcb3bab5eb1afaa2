"""Who is asking, and which roles they hold where."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal
from uuid import UUID

from shared.events.vocabulary import Role

Roles = Mapping[Role, frozenset[UUID] | None]
"""Each role with the units it holds for, and all below them; None: everywhere."""


_KNOWN = frozenset(role.value for role in Role)


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
