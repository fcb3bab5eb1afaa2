"""A round's invitations: issued with it, taken back, settled when it ends, forgotten in time.

Who was asked (`invited`) and which link was used (`links`) stand apart, and no row, order or transaction joins the two:
only who holds the link secret can (ADR 0004). So no statement takes both a person and the hash of their link.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.events import Group
from shared.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """`id` must be random: rows are stored in its order, which is to say nothing."""

    id: UUID
    round_id: UUID
    respondent_id: UUID
    group: Group
    token_hash: bytes


async def insert_invitations(conn: Connection, new: Sequence[NewInvitation]) -> None:
    """Keep who is asked, and apart from it the links, each in an order of chance."""
    asked = sorted(new, key=lambda one: one.id)
    await conn.execute(
        """
        insert into invited (id, round_id, respondent_id, respondent_group)
        select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[])
        """,
        [one.id for one in asked],
        [one.round_id for one in asked],
        [one.respondent_id for one in asked],
        [one.group for one in asked],
    )
    links = sorted(new, key=lambda one: one.token_hash)
    await conn.execute(
        """
        insert into links (token_hash, round_id, respondent_group)
        select * from unnest($1::bytea[], $2::uuid[], $3::text[])
        """,
        [one.token_hash for one in links],
        [one.round_id for one in links],
        [one.group for one in links],
    )


async def settle_invitations(conn: Connection, round_ids: Collection[UUID]) -> None:
    """The links of these rounds are over. Whom the rounds asked is forgotten, and so is which links were used."""
    await _end(conn, round_ids, "expired")


async def revoke_of_rounds(conn: Connection, round_ids: Collection[UUID]) -> list[tuple[UUID, UUID]]:
    """Take back every invitation of these rounds, used or not; (invitation, round) of each not taken back before."""
    return await _end(conn, round_ids, "revoked")


async def _end(conn: Connection, round_ids: Collection[UUID], state: str) -> list[tuple[UUID, UUID]]:
    await conn.execute(
        "update links set state = $2 where round_id = any($1::uuid[]) and state <> 'revoked'", list(round_ids), state
    )
    await conn.execute("delete from revocations where round_id = any($1::uuid[])", list(round_ids))
    rows = await conn.fetch(
        "delete from invited where round_id = any($1::uuid[]) returning id, round_id, revoked", list(round_ids)
    )
    return [(row["id"], row["round_id"]) for row in rows if not row["revoked"]]


async def revoke_of_people(conn: Connection, person_ids: Collection[UUID]) -> list[tuple[UUID, UUID, UUID]]:
    """Take back these people's invitations, and forget that they were theirs: (invitation, round, person) of each.

    Used ones too: neither what is announced of them nor what is stored may tell who had answered.
    """
    rows = await conn.fetch(
        """
        with theirs as (
            select id, respondent_id from invited where respondent_id = any($1::uuid[]) order by id for update
        )
        update invited i set revoked = true, respondent_id = null
        from theirs where i.id = theirs.id
        returning i.id, i.round_id, theirs.respondent_id
        """,
        list(person_ids),
    )
    return [(row["id"], row["round_id"], row["respondent_id"]) for row in rows]


async def insert_revocations(conn: Connection, revoked: Sequence[tuple[bytes, UUID]]) -> None:
    """Void the links whose tokens have these revocation hashes, each with its round."""
    in_order = sorted(revoked)
    await conn.execute(
        "insert into revocations (token_hash, round_id) select * from unnest($1::bytea[], $2::uuid[])",
        [one for one, _ in in_order],
        [round_id for _, round_id in in_order],
    )


async def forget_links(conn: Connection, round_ids: Collection[UUID]) -> None:
    """Delete the links of rounds that ended long ago; they are unknown from then on."""
    await conn.execute(
        """
        delete from links l using rounds r
        where r.id = l.round_id and r.id = any($1::uuid[]) and r.state <> 'open'
        """,
        list(round_ids),
    )
