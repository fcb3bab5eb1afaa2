"""One login, one person: who gets which login when an import asks twice for the same, or for what looks the same."""

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from services.enrolment.imports.domain import Known
from services.enrolment.imports.issues import Issue, Issues
from services.enrolment.imports.rows import Row
from services.enrolment.imports.sentences import Sentence
from shared.events import PersonStatus

_LATIN = {letter for letter in map(chr, range(0xC0, 0x17F)) if unicodedata.normalize("NFKC", letter) == letter}
_ALLOWED = frozenset(map(chr, range(0x20, 0x7F))) | (_LATIN - set("×÷İıĸ"))  # the last three pass for i and k


def folded(login: str) -> str:
    """What is the same in every login that people and identity providers take for this one."""
    return login.lower() if login.isascii() else unicodedata.normalize("NFKC", login).casefold()


def asked_by(row: Row, person: Known | None) -> str | None:
    """What the file says, else what the person has, else, of somebody new, the employee id."""
    if row.login or person is None:
        return row.login or row.employee_id
    return person.login


def settle(
    rows: Mapping[str, Row], known: Mapping[str, Known], gone: Collection[str], elsewhere: Collection[str],
    column: str | None,
) -> tuple[dict[str, str | None], Issues]:  # fmt: skip
    """The login of every row after the import, and a warning for each that could not be given.

    The login is what the file says, else what it was, else the employee id. Where two ask for the same one, or somebody
    else keeps it (`elsewhere`: logins in use by other sources), it is given to nobody: a login in the wrong hands opens
    another person's pages. Who loses keeps the login they had. Whoever has left, or is about to (`gone`), holds none
    back: the identity provider knows somebody else by it now, often the same human in a new employment. A login that
    looks like another one is given to nobody either; who had such a one before it was refused keeps it.
    """
    before: dict[str, str | None] = {}
    wanted: dict[str, str | None] = {}
    issues = Issues()
    for who, row in rows.items():
        person = known.get(who)
        had = before[who] = person.login if person is not None else None
        login = asked_by(row, person)
        if login is not None and login != had and (wrong := _wrong_in(login)):
            issues.add(
                Issue("warning", row.line, column, who, Sentence("bad_login", {"login": login, "character": wrong}))
            )
            login = had
        wanted[who] = login
    stays = [person for who, person in known.items() if who not in rows and who not in gone]
    here = [person for person in stays if person.status is not PersonStatus.inactive]
    held = {folded(login) for login in (*(person.login for person in here), *elsewhere) if login}
    for who in _losers(wanted, before, held):
        sentence = Sentence("duplicate_login", {"login": wanted[who] or ""})
        issues.add(Issue("warning", rows[who].line, column, who, sentence))
        wanted[who] = before[who]
    return wanted, issues


def _losers(wanted: Mapping[str, str | None], before: Mapping[str, str | None], held: Collection[str]) -> Iterator[str]:
    """Who cannot have what they want. Whoever loses keeps the login they had, which another may have wanted: so each
    login that gains somebody is looked at again, and no login oftener than people come to it.
    """
    given = [login for login in wanted.values() if login is not None]
    are_ascii = "".join(given).isascii()
    distinct = set(map(str.lower, given)) if are_ascii else set(map(folded, given))
    if len(distinct) == len(given) and distinct.isdisjoint(held):
        return
    askers: dict[str, set[str]] = defaultdict(set)
    asking = {who for who, login in wanted.items() if login != before[who]}
    for who, login in wanted.items():
        if login is not None:
            askers[folded(login)].add(who)
    waiting = list(askers)
    while waiting:
        login = waiting.pop()
        if len(askers[login]) < 2 and login not in held:
            continue
        for who in sorted(askers[login] & asking):
            askers[login].discard(who)
            asking.discard(who)
            if (kept := before[who]) is not None:
                askers[folded(kept)].add(who)
                waiting.append(folded(kept))
            yield who


def _wrong_in(login: str) -> str | None:
    """What in a login looks like something else, or cannot be seen; None when nothing does."""
    if login.isascii() and login.isprintable():
        return None
    wrong = next((character for character in login if character not in _ALLOWED), None)
    return None if wrong is None else f"{unicodedata.name(wrong, 'a character without a name')} (U+{ord(wrong):04X})"
