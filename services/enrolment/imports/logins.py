"""One login, one person: who gets which login when an import asks for the same one twice."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from services.enrolment.imports.checking import Issue, Known, Row
from shared.events import PersonStatus


def settle(
    rows: Mapping[str, Row], known: Mapping[str, Known], gone: Collection[str], elsewhere: Collection[str],
    column: str | None,
) -> tuple[dict[str, str | None], list[Issue]]:  # fmt: skip
    """The login of every row after the import, and a warning for each that could not be given.

    The login is what the file says, else what it was, else the employee id. Where two ask for the same one, or somebody
    else keeps it (`elsewhere`: logins in use by other sources), it is given to nobody: a login in the wrong hands opens
    another person's pages. Who loses keeps the login they had. Whoever has left, or is about to (`gone`), holds none
    back: the identity provider knows somebody else by it now, often the same human in a new employment.
    """
    before = {who: known[who].login if who in known else None for who in rows}
    wanted = {who: row.login or before[who] or (who if who not in known else None) for who, row in rows.items()}
    stays = [person for who, person in known.items() if who not in rows and who not in gone]
    here = [person for person in stays if person.status is not PersonStatus.inactive]
    held = {person.login for person in here if person.login} | set(elsewhere)
    issues: list[Issue] = []
    for who in _losers(wanted, before, held):
        detail = f"The login {wanted[who]} is also somebody else's; the person's login stays as it was."
        remedy = "Give each person a login of their own."
        issues.append(Issue("warning", "duplicate_login", rows[who].line, column, who, detail, remedy))
        wanted[who] = before[who]
    return wanted, issues


def _losers(wanted: Mapping[str, str | None], before: Mapping[str, str | None], held: Collection[str]) -> Iterator[str]:
    """Who cannot have what they want. Whoever loses keeps the login they had, which another may have wanted: so each
    login that gains somebody is looked at again, and no login oftener than people come to it.
    """
    askers: dict[str, set[str]] = defaultdict(set)
    for who, login in wanted.items():
        if login is not None:
            askers[login].add(who)
    waiting = list(askers)
    while waiting:
        login = waiting.pop()
        if len(askers[login]) < 2 and login not in held:
            continue
        for who in sorted(who for who in askers[login] if login != before[who]):
            askers[login].discard(who)
            if (kept := before[who]) is not None:
                askers[kept].add(who)
                waiting.append(kept)
            yield who
