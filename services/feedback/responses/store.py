"""Every SQL statement on answering: the link is used up and the ballot kept, in one transaction, with no time.

No statement names or finds the person whom a link was mailed to (ADR 0004).
"""

from uuid import UUID, uuid4

from services.feedback.responses.domain import InvitationState, Invited
from shared.events import Group, Practice
from shared.postgres.pool import Connection
from shared.security.invitation_tokens import revocation_hash, token_hash

# `for share of r` lets many answer at once and holds off closing, which takes the row for itself; whoever comes after
# closing sees the round closed. What was taken back is compared here and not there, so that no log of statements shows
# the two hashes of a token side by side.
_FIND = """
    select l.token_hash, l.round_id, l.state, l.respondent_group, r.state = 'open' as round_open, r.closes_at,
           r.practices, r.instrument_version, r.k, r.public_key, s.time_zone,
           concat_ws(' ', s.given_name, s.family_name) as subject_name,
           array(select token_hash from revocations where round_id = r.id) as taken_back
    from links l
    join rounds r on r.id = l.round_id
    left join people s on s.id = r.subject_person_id
    where l.token_hash = $1
"""


async def find(conn: Connection, token: str) -> Invited | None:
    """What a link leads to; reading changes nothing."""
    return await _find(conn, _FIND, token)


async def find_and_hold(conn: Connection, token: str) -> Invited | None:
    """The same, with the round held open until the transaction ends."""
    return await _find(conn, _FIND + " for share of r", token)


async def use_up(conn: Connection, token_hash: bytes, state: InvitationState) -> bool:
    """Take an issued link to used or declined; False when somebody was faster."""
    row = await conn.fetchrow(
        "update links set state = $2 where token_hash = $1 and state = 'issued' returning state", token_hash, state
    )
    return row is not None


async def insert_ballot(conn: Connection, round_id: UUID, sealed: bytes) -> None:
    """Keep a sealed ballot under an id that says nothing: random, unlike our time-ordered ids."""
    await conn.execute("insert into ballots (id, round_id, sealed) values ($1, $2, $3)", uuid4(), round_id, sealed)


async def _find(conn: Connection, query: str, token: str) -> Invited | None:
    row = await conn.fetchrow(query, token_hash(token))
    if row is None:
        return None
    state = InvitationState(row["state"])
    taken_back = state is InvitationState.issued and revocation_hash(token) in row["taken_back"]
    return Invited(
        token_hash=row["token_hash"],
        round_id=row["round_id"],
        state=InvitationState.revoked if taken_back else state,
        group=Group(row["respondent_group"]),
        round_open=row["round_open"],
        closes_at=row["closes_at"],
        practices=tuple(Practice(practice) for practice in row["practices"]),
        instrument_version=row["instrument_version"],
        k=row["k"],
        public_key=row["public_key"],
        subject_name=row["subject_name"],
        time_zone=row["time_zone"],
    )
