"""The one navigation, the same on every service's pages."""

from dataclasses import dataclass

from shared.access import Principal, Role


@dataclass(frozen=True, slots=True)
class Entry:
    """A place in the navigation: `key` names its text (`nav.<key>`).

    With `roles` it is only for who holds one of them somewhere, or, if it concerns the whole organisation, everywhere.
    `also`: where else its pages lie.
    """

    key: str
    path: str
    roles: tuple[Role, ...] = ()
    everywhere: bool = False
    signed_in: bool = True
    also: tuple[str, ...] = ()


ENTRIES = (
    Entry("overview", "/", signed_in=False),
    Entry("co_leadership", "/enrolment/"),
    Entry("approvals", "/enrolment/approvals"),
    Entry("programmes", "/enrolment/programmes", (Role.programme_office,), also=("/enrolment/cohorts",)),
    Entry("feedback", "/feedback/"),
    Entry("deliveries", "/notifications/deliveries", (Role.operator, Role.programme_office), everywhere=True),
)


def entries_for(who: Principal | None) -> list[Entry]:
    """What to show: links that lead somewhere for this visitor."""
    if who is None:
        return [entry for entry in ENTRIES if not entry.signed_in]
    return [entry for entry in ENTRIES if _leads_somewhere(entry, who)]


def current(path: str) -> str | None:
    """The entry that a path lies under: the longest that fits."""
    places = [(place, entry.key) for entry in ENTRIES for place in (entry.path, *entry.also)]
    fitting = [(place, key) for place, key in places if path == place or (place != "/" and path.startswith(place))]
    return max(fitting, key=lambda found: len(found[0]))[1] if fitting else None


def _leads_somewhere(entry: Entry, who: Principal) -> bool:
    if entry.everywhere:
        return any(who.roles.get(role, ()) is None for role in entry.roles)
    return not entry.roles or any(who.has(role) for role in entry.roles)
