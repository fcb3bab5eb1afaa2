"""The one navigation, the same on every service's pages."""

from dataclasses import dataclass

from shared.access import Principal, Role


@dataclass(frozen=True, slots=True)
class Entry:
    """A place in the navigation: `key` names its text (`nav.<key>`); `role`: only for who holds it somewhere."""

    key: str
    path: str
    role: Role | None = None
    signed_in: bool = True


ENTRIES = (
    Entry("overview", "/", signed_in=False),
    Entry("co_leadership", "/enrolment/"),
    Entry("approvals", "/enrolment/approvals"),
    Entry("programmes", "/enrolment/programmes", Role.programme_office),
    Entry("feedback", "/feedback/"),
    Entry("operations", "/notifications/deliveries", Role.operator),
)


def entries_for(who: Principal | None) -> list[Entry]:
    """What to show: links that lead somewhere for this visitor."""
    if who is None:
        return [entry for entry in ENTRIES if not entry.signed_in]
    return [entry for entry in ENTRIES if entry.role is None or who.has(entry.role)]


def current(path: str) -> str | None:
    """The entry that a path lies under: the longest that fits."""
    fitting = [entry for entry in ENTRIES if path == entry.path or (entry.path != "/" and path.startswith(entry.path))]
    return max(fitting, key=lambda entry: len(entry.path)).key if fitting else None
