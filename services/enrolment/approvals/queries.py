"""How much waits for somebody's word, without a look at whose it is: nothing here is put on record."""

from dataclasses import dataclass

from services.enrolment.enrolments import store as enrolments
from services.enrolment.milestones import store as milestones
from shared.events.vocabulary import Role
from shared.postgres.pool import Connection
from shared.security.authorization import units_of
from shared.security.principal import Principal


@dataclass(frozen=True, slots=True)
class Waiting:
    """Requests to answer, as manager or as programme office, and milestones to attest."""

    requests: int
    milestones: int

    @property
    def total(self) -> int:
        return self.requests + self.milestones


async def waiting(conn: Connection, who: Principal) -> Waiting:
    """What waits for this person now; a machine answers nothing, and neither does whoever has no say."""
    if who.person_id is None or not (who.has_reports or who.has(Role.programme_office)):
        return Waiting(0, 0)
    units = await units_of(conn, who, Role.programme_office)
    return Waiting(
        requests=await enrolments.count_to_decide(conn, who.person_id, office_units=units),
        milestones=await milestones.count_reached_under(conn, who.person_id),
    )
