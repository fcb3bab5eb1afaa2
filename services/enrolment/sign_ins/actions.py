"""Binding accounts to people: at the first sign-in, and by an operator. Audited and announced."""

import hashlib
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.enrolment.access.actions import announce
from services.enrolment.access.actions import of_person as access_of
from services.enrolment.sign_ins import store
from services.enrolment.sign_ins.domain import InUseError, NoSuchSignInError, Reason, choose
from services.enrolment.sign_ins.store import SignIn
from shared import timers
from shared.events import PersonStatus, SignInChanged
from shared.events import SignIn as Announced
from shared.ids import new_id
from shared.messaging import outbox
from shared.postgres.pool import Connection
from shared.security.audit import audit
from shared.security.oidc import Account
from shared.security.principal import Principal

REFUSED_KEPT = timedelta(days=90)
FORGET_REFUSED = "sign_ins.forget_refused"  # a timer's kind; its key is the account's digest


async def first_sign_in(conn: Connection, account: Account, *, now: datetime) -> UUID | Reason:
    """The person the account signs in, bound now if it never was and the login finds one; else why not. Safe to repeat.

    The reason is written down, for an operator to see: commit either way.
    """
    held = await store.find(conn, account.issuer, account.subject)
    if held is not None and held.person_status != PersonStatus.inactive:
        return held.person_id
    found: UUID | Reason = Reason.NO_LOGIN
    if account.login is not None:
        login = unicodedata.normalize("NFC", account.login.strip())  # as an import writes it
        await store.lock_named(conn, login)
        # Two requests of one account at once: the second has waited, and finds what the first has bound.
        held = await store.find(conn, account.issuer, account.subject)
        if held is not None and held.person_status != PersonStatus.inactive:
            return held.person_id
        candidates = await store.candidates(conn, login, account.issuer)
        found = choose(candidates, account_is_anothers=held is not None)
    if isinstance(found, Reason):
        await store.note_refused(conn, account, found, now)
        await timers.schedule(conn, FORGET_REFUSED, _digest(account), now + REFUSED_KEPT)
        return found
    who = Principal("person", f"person:{found}", found, "")
    if held is not None:
        await _end(conn, who, held, now=now)
    await store.put(conn, account, found, bound_by=who.id, login=account.login, now=now)
    await _announce(conn, found, now=now, sessions_end=False)
    await audit(conn, who, "sign_in.bound", found, now)
    return found


def _digest(account: Account) -> str:
    return hashlib.sha256(f"{account.issuer}\n{account.subject}".encode()).hexdigest()


async def bind(conn: Connection, who: Principal, person_id: UUID, issuer: str, subject: str, *, now: datetime) -> None:
    """An operator says that this account is this person, instead of the one they had. Safe to repeat.

    Their sessions end, and every address they had when an account was bound to them is to hear of it. Raises
    NotFoundError, InUseError when it signs in somebody else who is at work.
    """
    await access_of(conn, person_id)
    held = await store.find(conn, issuer, subject)
    if held is not None and held.person_id == person_id:
        return
    if held is not None and held.person_status != PersonStatus.inactive:
        raise InUseError(
            f"This account signs in {held.person_name}, who is at work.",
            field="subject",
            remedy="End that sign-in first, if it is wrong.",
        )
    told = await store.emails_known(conn, person_id)
    before = await store.of_person(conn, person_id, issuer)
    if held is not None:
        await _end(conn, who, held, now=now)
    if before is not None:
        await store.end(conn, issuer, before.subject, ended_by=who.id, now=now)
    await store.put(conn, Account(issuer, subject, None, 0), person_id, bound_by=who.id, login=None, now=now)
    await _announce(conn, person_id, now=now, sessions_end=True)
    await _tell(conn, person_id, "replaced", told, now=now)
    await audit(conn, who, "sign_in.bound", person_id, now)


async def end(conn: Connection, who: Principal, person_id: UUID, issuer: str, *, now: datetime) -> None:
    """The person's account at this issuer signs them in no longer; only an operator can bind one again.

    Raises NoSuchSignInError.
    """
    held = await store.of_person(conn, person_id, issuer)
    if held is None:
        raise NoSuchSignInError(
            "No account of this issuer signs this person in.", remedy="Look at the list of sign-ins."
        )
    told = await store.emails_known(conn, person_id)
    await _end(conn, who, held, now=now)
    await _tell(conn, person_id, "ended", told, now=now)


async def _end(conn: Connection, who: Principal, held: SignIn, *, now: datetime) -> None:
    await store.end(conn, held.issuer, held.subject, ended_by=who.id, now=now)
    await _announce(conn, held.person_id, now=now, sessions_end=True)
    await audit(conn, who, "sign_in.ended", held.person_id, now)


async def _announce(conn: Connection, person_id: UUID, *, now: datetime, sessions_end: bool) -> None:
    access = await access_of(conn, person_id)
    bound = await store.all_of(conn, person_id)
    announced = tuple(Announced(issuer=each.issuer, subject=each.subject) for each in bound)
    # Sessions go by the machine's time, not by a shifted clock.
    ended = datetime.now(UTC) if sessions_end else access.sessions_from
    await announce(conn, replace(access, sign_ins=announced, sessions_from=ended), now=now)


async def _tell(conn: Connection, person_id: UUID, change: str, told: list[str], *, now: datetime) -> None:
    current = await store.email_of(conn, person_id)
    addresses = [None, *(each for each in told if each != current)]
    notices = [
        SignInChanged(notice_id=new_id(), person_id=person_id, change=change, address=address) for address in addresses
    ]
    await outbox.add(conn, *notices, now=now)
