"""Every SQL statement on answering: the invitation is used up and the ballot kept, in one transaction, with no time."""

from uuid import UUID, uuid4

from services.feedback.responses.domain import InvitationState, Invited
from shared.db import Connection
from shared.events import Group, Practice

# `for share of r` lets many answer at once and holds off closing, which takes the row for itself; whoever comes after
# closing sees the round closed.
_FIND = """
    select i.id, i.round_id, i.state, i.respondent_group, r.state = 'open' as round_open, r.closes_at, r.practices,
           r.instrument_version, r.k, r.public_key, concat_ws(' ', s.given_name, s.family_name) as subject_name,
           p.locale, p.time_zone
    from invitations i
    join rounds r on r.id = i.round_id
    left join people s on s.id = r.subject_person_id
    left join people p on p.id = i.respondent_id
    where i.token_hash = $1
"""


async def find(conn: Connection, token_hash: bytes) -> Invited | None:
    """What a link leads to; reading changes nothing."""
    return await _find(conn, _FIND, token_hash)


async def find_and_hold(conn: Connection, token_hash: bytes) -> Invited | None:
    """The same, with the round held open until the transaction ends."""
    return await _find(conn, _FIND + " for share of r", token_hash)


async def use_up(conn: Connection, invitation_id: UUID, state: InvitationState) -> bool:
    """Take an issued invitation to used or declined; False when somebody was faster."""
    row = await conn.fetchrow(
        "update invitations set state = $2 where id = $1 and state = 'issued' returning id", invitation_id, state
    )
    return row is not None


async def insert_ballot(conn: Connection, round_id: UUID, sealed: bytes) -> None:
    """Keep a sealed ballot under an id that says nothing: random, unlike our time-ordered ids."""
    await conn.execute("insert into ballots (id, round_id, sealed) values ($1, $2, $3)", uuid4(), round_id, sealed)


async def _find(conn: Connection, query: str, token_hash: bytes) -> Invited | None:
    row = await conn.fetchrow(query, token_hash)
    if row is None:
        return None
    return Invited(
        invitation_id=row["id"],
        round_id=row["round_id"],
        state=InvitationState(row["state"]),
        group=Group(row["respondent_group"]),
        round_open=row["round_open"],
        closes_at=row["closes_at"],
        practices=tuple(Practice(practice) for practice in row["practices"]),
        instrument_version=row["instrument_version"],
        k=row["k"],
        public_key=row["public_key"],
        subject_name=row["subject_name"],
        locale=row["locale"],
        time_zone=row["time_zone"],
    )
