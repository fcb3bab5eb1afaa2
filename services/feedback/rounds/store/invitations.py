"""A round's invitations: issued with it, taken back, settled when it ends, forgotten in time."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.db import Connection
from shared.events import Group


@dataclass(frozen=True, slots=True)
class NewInvitation:
    id: UUID
    round_id: UUID
    respondent_id: UUID
    group: Group
    token_hash: bytes


async def insert_invitations(conn: Connection, new: Sequence[NewInvitation]) -> None:
    await conn.execute(
        """
        insert into invitations (id, round_id, respondent_id, respondent_group, token_hash)
        select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bytea[])
        """,
        [one.id for one in new],
        [one.round_id for one in new],
        [one.respondent_id for one in new],
        [one.group for one in new],
        [one.token_hash for one in new],
    )


async def settle_invitations(conn: Connection, round_ids: Collection[UUID]) -> None:
    """The links of these rounds are over. Whom each was for is forgotten, and so is whether it was used."""
    await conn.execute(
        """
        update invitations set state = case state when 'revoked' then state else 'expired' end, respondent_id = null
        where round_id = any($1::uuid[])
        """,
        list(round_ids),
    )


async def revoke_of_rounds(conn: Connection, round_ids: Collection[UUID]) -> list[tuple[UUID, UUID]]:
    """Take back every invitation of these rounds, used or not; (invitation, round) of each."""
    rows = await conn.fetch(
        """
        update invitations set state = 'revoked' where round_id = any($1::uuid[]) and state <> 'revoked'
        returning id, round_id
        """,
        list(round_ids),
    )
    return [(row["id"], row["round_id"]) for row in rows]


async def revoke_of_people(conn: Connection, person_ids: Collection[UUID]) -> list[tuple[UUID, UUID, UUID]]:
    """Take back what is still issued to these people, and forget that any of it was theirs.

    Gives (invitation, round, person) of each invitation they had in open rounds, used ones too: what is announced of
    them must not tell who had answered.
    """
    rows = await conn.fetch(
        """
        with theirs as (
            select id, respondent_id from invitations where respondent_id = any($1::uuid[]) order by id for update
        )
        update invitations i
        set state = case i.state when 'issued' then 'revoked' else i.state end, respondent_id = null
        from theirs where i.id = theirs.id
        returning i.id, i.round_id, theirs.respondent_id
        """,
        list(person_ids),
    )
    return [(row["id"], row["round_id"], row["respondent_id"]) for row in rows]


async def forget_invitations(conn: Connection, round_ids: Collection[UUID]) -> None:
    """Delete the invitations of rounds that ended long ago; their links are unknown from then on."""
    await conn.execute(
        """
        delete from invitations i using rounds r
        where r.id = i.round_id and r.id = any($1::uuid[]) and r.state <> 'open'
        """,
        list(round_ids),
    )
