"""Putting right what services hold of a person, a unit or a principal: the owner says it again, above all others.

Enrolment owns all three; the others keep the newest state by its sequence (`shared.directory`). Whoever forged a newer
one blocks the true ones after it, and so does an owner that was restored from a backup.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import NAMESPACE_OID, UUID, uuid5

from services.enrolment.access import store as access
from services.enrolment.access.actions import CONSOLE
from services.enrolment.access.domain import state_of as access_state_of
from services.enrolment.people import store as people
from services.enrolment.people.domain import state_of, unit_state_of
from shared.events import AccessState, Event, PersonState, UnitState
from shared.events.envelope import MOST_FACTS
from shared.messaging import outbox
from shared.messaging.handler import Handler
from shared.messaging.inbox import MAX_SEQUENCE_STEP
from shared.postgres.pool import Connection
from shared.security.audit import audit

REPAIRED, SET_BACK = "projection.repaired", "projection.set_back"
KINDS: dict[str, type[Event]] = {"people": PersonState, "units": UnitState, "access": AccessState}


@dataclass(frozen=True, slots=True)
class Copy:
    """How far a handler of a service has come with one subject."""

    service: str
    handler: str
    applied: int


async def truth(conn: Connection, kind: type[Event], subject: str) -> Event | None:
    """The subject's state as its owner has it; None when it has none, and copies are to go."""
    if kind is AccessState:
        held = await access.find(conn, subject)
        return access_state_of(held) if held is not None else None
    if kind is UnitState:
        return next((unit_state_of(unit) for unit in await people.units(conn) if str(unit.id) == subject), None)
    person = await people.find_person(conn, UUID(subject))
    return state_of(person) if person is not None else None


async def announced(conn: Connection, kind: type[Event], subject: str) -> int:
    """The sequence of what the owner has announced last of the subject; 0 when nothing."""
    last: int | None = await conn.fetchval(
        "select last from outbox_sequences where topic = $1 and subject = $2 for update", kind.topic, subject
    )
    return last or 0


async def copies(conn: Connection, service: str, handlers: Sequence[Handler], subject: str) -> list[Copy]:
    """What these handlers have applied of the subject."""
    rows = await conn.fetch(
        "select handler, sequence from inbox_latest where subject = $1 and handler = any($2::text[]) order by handler",
        subject, [handler.name for handler in handlers],
    )  # fmt: skip
    return [Copy(service, row["handler"], row["sequence"]) for row in rows]


def level(last_announced: int, known: Sequence[Copy]) -> int:
    """The sequence to go on from: the highest that a copy has and that all can follow in one step.

    Above that, only setting the copy back helps; going along would use up the sequences there are.
    """
    most = min(last_announced + MAX_SEQUENCE_STEP, MOST_FACTS)
    return max([last_announced, *(copy.applied for copy in known if copy.applied < most)])


async def set_back(conn: Connection, subject: str, blocked: Sequence[Copy], to: int, now: datetime) -> None:
    """Let these copies, all of one service, take what comes after `to`."""
    await conn.execute(
        """
        update inbox_latest set sequence = $3 where subject = $1 and handler = any($2::text[]) and sequence > $3
        """,
        subject, [copy.handler for copy in blocked], to,
    )  # fmt: skip
    await audit(conn, CONSOLE, SET_BACK, _audited(subject), now)


async def announce(conn: Connection, kind: type[Event], subject: str, above: int, now: datetime) -> int:
    """Have the owner announce the subject's state as it is now, or that it is gone; gives the sequence of that."""
    state = await truth(conn, kind, subject)
    await conn.execute(
        """
        insert into outbox_sequences as s (topic, subject, last) values ($1, $2, $3)
        on conflict (topic, subject) do update set last = greatest(s.last, excluded.last)
        """,
        kind.topic, subject, above,
    )  # fmt: skip
    if state is not None:
        await outbox.add(conn, state, now=now)
    else:
        await outbox.add_tombstones(conn, kind, [subject], now=now)
    await audit(conn, CONSOLE, REPAIRED, _audited(subject), now)
    return await announced(conn, kind, subject)


def _audited(subject: str) -> UUID:
    """The log knows ids alone; whom a forged principal is called after has none."""
    try:
        return UUID(subject.rpartition(":")[2])
    except ValueError:
        return uuid5(NAMESPACE_OID, subject)
