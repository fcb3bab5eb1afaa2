"""Who may do what to an enrolment: the co-leader, the manager of today, or the programme office for the unit.

For everybody else it is not there: they hear what they would hear of an id that nobody ever had.
"""

from services.enrolment.enrolments.domain import Member
from shared.errors import NotAllowedError, NotFoundError
from shared.events.vocabulary import Role
from shared.postgres.pool import Connection
from shared.security.authorization import holds
from shared.security.principal import Principal


def is_self(who: Principal, member: Member) -> bool:
    """Whether this is the person themselves."""
    return who.person_id == member.person_id


def is_manager(who: Principal, member: Member) -> bool:
    """Whether this is the manager the person reports to now; one of yesterday is not."""
    return who.person_id is not None and who.person_id == member.manager_id


def unknown() -> NotFoundError:
    """There is no such enrolment, or none that concerns whoever asks."""
    return NotFoundError("There is no enrolment with this id that concerns you.", remedy="Choose one from the list.")


async def is_concerned(conn: Connection, who: Principal, member: Member) -> bool:
    """Whether this is the co-leader, their manager or the programme office; a machine is neither of the first two."""
    return is_self(who, member) or is_manager(who, member) or await _is_office(conn, who, member)


async def must_be_concerned(conn: Connection, who: Principal, member: Member) -> None:
    """The co-leader, their manager or the programme office. Raises NotFoundError."""
    if not await is_concerned(conn, who, member):
        raise unknown()


async def must_be_manager(conn: Connection, who: Principal, member: Member) -> None:
    """The manager; the programme office where no manager is there to act. Nobody acts as their own manager.

    Raises NotFoundError, NotAllowedError.
    """
    await must_be_concerned(conn, who, member)
    if is_self(who, member):
        raise NotAllowedError("Nobody decides about themselves.", remedy="Ask your manager or the programme office.")
    if member.has_manager and not is_manager(who, member):
        raise NotAllowedError(
            "Only the person's manager can do this.", remedy="Ask the manager the person reports to now."
        )


async def must_be_office(conn: Connection, who: Principal, member: Member) -> None:
    """The programme office, for the unit the person belongs to now; not in a matter of one's own.

    Raises NotFoundError, NotAllowedError.
    """
    await must_be_concerned(conn, who, member)
    if is_self(who, member):
        raise NotAllowedError("Nobody decides about themselves.", remedy="Ask a colleague in the programme office.")
    if not await _is_office(conn, who, member):
        raise NotAllowedError("Only the programme office can do this.", remedy="Ask the programme office.")


async def must_be_self(conn: Connection, who: Principal, member: Member) -> None:
    """The co-leader and nobody for them. Raises NotFoundError, NotAllowedError."""
    await must_be_concerned(conn, who, member)
    if not is_self(who, member):
        raise NotAllowedError("Only the co-leader can do this.", remedy="Ask the co-leader to do it.")


async def _is_office(conn: Connection, who: Principal, member: Member) -> bool:
    return await holds(conn, who, Role.programme_office, unit=member.unit_id)
