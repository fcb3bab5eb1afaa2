"""Who may do what to an enrolment: the co-leader, the manager of today, or the programme office for the unit."""

from services.enrolment.enrolments.domain import Member
from shared.errors import NotAllowedError
from shared.events.vocabulary import Role
from shared.postgres.pool import Connection
from shared.security.authorization import require
from shared.security.principal import Principal


def is_self(who: Principal, member: Member) -> bool:
    """Whether this is the person themselves."""
    return who.person_id == member.person_id


def is_manager(who: Principal, member: Member) -> bool:
    """Whether this is the manager the person reports to now; one of yesterday is not."""
    return who.person_id is not None and who.person_id == member.manager_id


async def must_be_manager(conn: Connection, who: Principal, member: Member) -> None:
    """The manager; the programme office where no manager is there to act. Nobody acts as their own manager."""
    if is_self(who, member):
        raise NotAllowedError("Nobody decides about themselves.", remedy="Ask your manager or the programme office.")
    if is_manager(who, member):
        return
    if member.has_manager:
        raise NotAllowedError(
            "Only the person's manager can do this.", remedy="Ask the manager the person reports to now."
        )
    await must_be_office(conn, who, member)


async def must_be_office(conn: Connection, who: Principal, member: Member) -> None:
    """The programme office, for the unit the person belongs to now; not in a matter of one's own."""
    if is_self(who, member):
        raise NotAllowedError("Nobody decides about themselves.", remedy="Ask a colleague in the programme office.")
    await require(conn, who, Role.programme_office, unit=member.unit_id)


async def must_be_concerned(conn: Connection, who: Principal, member: Member) -> None:
    """The co-leader, their manager or the programme office."""
    if not is_self(who, member) and not is_manager(who, member):
        await must_be_office(conn, who, member)


def must_be_self(who: Principal, member: Member) -> None:
    """The co-leader and nobody for them."""
    if not is_self(who, member):
        raise NotAllowedError("Only the co-leader can do this.", remedy="Ask the co-leader to do it.")
