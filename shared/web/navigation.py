"""The one navigation, the same on every service's pages."""

from dataclasses import dataclass

from shared.events.vocabulary import Role
from shared.security.principal import Principal


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """A place in the navigation: `key` names its text (`nav.<key>`). The first is where everybody begins.

    With `roles` it is only for who holds one of them somewhere, or, if it concerns the whole organisation, everywhere;
    with `managers` also for whoever somebody reports to. `also`: where else its pages lie. `waiting`: where the service
    behind it says how much waits there for the reader; a script asks, for no page knows another service's figures.
    """

    key: str
    path: str
    roles: tuple[Role, ...] = ()
    everywhere: bool = False
    managers: bool = False
    also: tuple[str, ...] = ()
    waiting: str | None = None


ENTRIES = (
    NavigationEntry("co_leadership", "/enrolment/"),
    NavigationEntry(
        "approvals", "/enrolment/approvals", (Role.programme_office,), managers=True, waiting="/enrolment/v1/waiting"
    ),
    NavigationEntry("programmes", "/enrolment/programmes", (Role.programme_office,), also=("/enrolment/cohorts",)),
    NavigationEntry("people", "/enrolment/people", (Role.hr_integration, Role.programme_office)),
    NavigationEntry("imports", "/enrolment/imports", (Role.hr_integration, Role.programme_office), everywhere=True),
    NavigationEntry("feedback", "/feedback/"),
    NavigationEntry("organisation", "/organisation"),
    NavigationEntry("deliveries", "/notifications/deliveries", (Role.operator, Role.programme_office), everywhere=True),
)


def entries_for(who: Principal | None) -> list[NavigationEntry]:
    """What to show: links that lead somewhere for this visitor, none before they sign in."""
    return [] if who is None else [entry for entry in ENTRIES if _leads_somewhere(entry, who)]


def current(path: str) -> str | None:
    """The entry that a path lies under: the longest that fits."""
    places = [(place, entry.key) for entry in ENTRIES for place in (entry.path, *entry.also)]
    fitting = [(place, key) for place, key in places if path.startswith(place)]
    return max(fitting, key=lambda found: len(found[0]))[1] if fitting else None


def _leads_somewhere(entry: NavigationEntry, who: Principal) -> bool:
    if entry.everywhere:
        return any(who.roles.get(role, ()) is None for role in entry.roles)
    if entry.managers and who.has_reports:
        return True
    return not entry.roles or any(who.has(role) for role in entry.roles)
