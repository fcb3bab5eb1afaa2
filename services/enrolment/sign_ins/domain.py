"""When an account may be bound to a person by HR's login alone, and when an operator has to say so.

Whoever writes HR's file decides about logins. So a login finds a person once; it never leads to what somebody else has
done or may do here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from shared.errors import RuleError


class Reason(StrEnum):
    """Why an account was not bound. Stable codes: operators see them beside the account."""

    NO_LOGIN = "no_login"
    UNKNOWN_LOGIN = "unknown_login"
    SEVERAL_PEOPLE = "several_people"
    HAS_SIGN_IN = "has_sign_in"
    ACCOUNT_OF_ANOTHER = "account_of_another"
    LOGIN_OF_ANOTHER = "login_of_another"
    LOGIN_CHANGED = "login_changed"


class NotBoundError(RuleError):
    """The account was not bound to anybody."""

    status = 403
    type = "sign-in-unconfirmed"
    title = "An operator has to confirm who you are"


class NotInRegisterError(RuleError):
    """Nobody has this login."""

    status = 403
    type = "unknown-person"
    title = "You are not in the people register"


class InUseError(RuleError):
    """The account signs in somebody else who is at work."""

    type = "account-in-use"
    title = "The account signs in somebody else"


class NoSuchSignInError(RuleError):
    """There is nothing to end."""

    status = 404
    type = "not-found"
    title = "There is no such sign-in"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An active person who has the login, and what speaks against binding an account to them for that alone.

    had_sign_in: an account of this issuer is or was theirs. is_first_login: they were given no other before it.
    was_anothers: somebody else has it or had it. has_history: they have roles, places, sign-ins at any issuer, or have
    done something that is on record.
    """

    person_id: UUID
    had_sign_in: bool
    is_first_login: bool
    was_anothers: bool
    has_history: bool


def choose(candidates: Sequence[Candidate], *, account_is_anothers: bool = False) -> UUID | Reason:
    """Whom to bind an account to that nobody signs in with, or why not.

    account_is_anothers: it signed somebody in who has left. Then it is somebody employed anew, or somebody else to whom
    the provider gave the account: only a person without a history may have it.
    """
    if not candidates:
        return Reason.UNKNOWN_LOGIN
    if len(candidates) > 1:
        return Reason.SEVERAL_PEOPLE
    [one] = candidates
    if one.had_sign_in:
        return Reason.HAS_SIGN_IN
    if one.was_anothers or account_is_anothers:
        is_new = one.is_first_login and not one.has_history
        return one.person_id if is_new else Reason.LOGIN_OF_ANOTHER if one.was_anothers else Reason.ACCOUNT_OF_ANOTHER
    # Moving an operator's login to an account that nobody has heard of needs no second person.
    if not one.is_first_login and one.has_history:
        return Reason.LOGIN_CHANGED
    return one.person_id


def refusal(reason: Reason) -> RuleError:
    """What whoever signs in is told. It does not say whom else the login could belong to."""
    if reason in (Reason.UNKNOWN_LOGIN, Reason.NO_LOGIN):
        return NotInRegisterError(
            "You are signed in, but no active person in the organisation has this login.",
            remedy="The login is what HR's file says, or the employee id where it says none. Sign in with that one, or "
            "ask the programme office whether HR has reported you yet.",
        )
    return NotBoundError(
        "You are signed in, but Medled cannot tell by the login alone that you are the person HR gives it to.",
        remedy="Ask an operator of Medled to bind your account (medled sign-ins).",
    )
