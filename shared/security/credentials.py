"""What somebody presents to say who they are, and whom it stands for now, by this service's own tables alone.

An account of the issuer stands for the person it was bound to (ADR 0007), never for whoever has its name as login now.
Whatever was let in once is judged by the same rule again while it stays: a stream that is open for an hour.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

from shared.postgres.pool import Pool
from shared.security.oidc import Account
from shared.security.principal import Principal, known_roles
from shared.security.session import Session


@dataclass(frozen=True, slots=True)
class MachineToken:
    """A machine's token, by the digest under which it is stored."""

    digest: bytes


Credential = MachineToken | Account | Session


class Unresolved(Enum):
    """Why a credential stands for nobody."""

    ENDED = "ended"
    UNBOUND = "unbound"
    """The issuer knows the account; which person it is has not been settled, or has not been heard of yet."""
    NOT_HERE = "not_here"
    """The person is not in the register, or has left."""


Resolution = Principal | Unresolved


async def resolve_credentials(
    pool: Pool, credentials: Collection[Credential], now: datetime
) -> dict[Credential, Resolution]:
    """Whom each credential stands for, in one statement for each kind of them."""
    machines = [each for each in credentials if isinstance(each, MachineToken)]
    accounts = [each for each in credentials if isinstance(each, Account)]
    sessions = [each for each in credentials if isinstance(each, Session)]
    return {
        **(await _of_machines(pool, machines, now) if machines else {}),
        **(await _of_accounts(pool, accounts, now) if accounts else {}),
        **(await _of_sessions(pool, sessions, now) if sessions else {}),
    }


async def _of_machines(pool: Pool, tokens: Sequence[MachineToken], now: datetime) -> Mapping[Credential, Resolution]:
    rows = await pool.fetch(
        """
        select token_hash, principal, name, roles from access
        where token_hash = any($1::bytea[]) and kind = 'machine' and (expires_at is null or expires_at > $2)
        """,
        [token.digest for token in tokens],
        now,
    )
    found = {
        MachineToken(row["token_hash"]): Principal(
            "machine", row["principal"], None, row["name"], "en", known_roles(row["roles"]), "UTC"
        )
        for row in rows
    }
    return {token: found.get(token, Unresolved.ENDED) for token in tokens}


_PERSON = """
    p.id, p.given_name, p.family_name, p.locale, p.time_zone,
    case when a.expires_at is null or a.expires_at > $1 then a.roles end as roles,
    exists (select from people r where r.manager_id = p.id and r.status <> 'inactive') as has_reports
"""


async def _of_accounts(pool: Pool, accounts: Sequence[Account], now: datetime) -> Mapping[Credential, Resolution]:
    rows = await pool.fetch(
        f"""
        select t.nth, {_PERSON}
        from unnest($2::text[], $3::text[]) with ordinality as t(issuer, subject, nth)
        join sign_ins s on s.issuer = t.issuer and s.subject = t.subject
        left join people p on p.id = s.person_id and p.status <> 'inactive'
        left join access a on a.person_id = p.id
        """,  # noqa: S608 - a constant of this module
        now,
        [account.issuer for account in accounts],
        [account.subject for account in accounts],
    )
    held: dict[Credential, Resolution] = dict.fromkeys(accounts, Unresolved.UNBOUND)
    for row in rows:
        account = accounts[row["nth"] - 1]
        alone = held[account] is Unresolved.UNBOUND
        held[account] = _principal(row) if alone and row["id"] is not None else Unresolved.NOT_HERE
    over = time.time()
    return {each: Unresolved.ENDED if isinstance(each, Account) and each.until < over else held[each] for each in held}


async def _of_sessions(pool: Pool, sessions: Sequence[Session], now: datetime) -> Mapping[Credential, Resolution]:
    """The portal or enrolment has signed who it is, so that nobody waits for an event. What this service knows wins.

    Of a person whose sign-in was ended before, an account counts once it is heard of: whoever signed the session may
    not have known yet that it is over.
    """
    rows = await pool.fetch(
        f"""
        select {_PERSON},
               t.until < clock_timestamp() -- the machine's time, which sessions go by
               or coalesce(t.began < a.sessions_from, false)
               or (a.sessions_from is not null and not exists (
                   select from sign_ins s
                   where s.issuer = t.issuer and s.subject = t.subject and s.person_id = t.person_id))
               or exists (select from ended_sessions e where e.id = t.id)
               or exists (select from sign_ins s
                          where s.issuer = t.issuer and s.subject = t.subject and s.person_id <> t.person_id)
               or exists (select from sign_ins s
                          where s.person_id = t.person_id and s.issuer = t.issuer and s.subject <> t.subject) as ended
        from unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[])
            with ordinality as t(id, person_id, issuer, subject, began, until, nth)
        left join people p on p.id = t.person_id and p.status <> 'inactive'
        left join access a on a.person_id = t.person_id
        order by t.nth
        """,  # noqa: S608 - a constant of this module
        now,
        [session.id for session in sessions], [session.person_id for session in sessions],
        [session.issuer for session in sessions], [session.subject for session in sessions],
        [session.began for session in sessions], [session.until for session in sessions],
    )  # fmt: skip
    return {
        session: Unresolved.ENDED if row["ended"] else _principal(row) if row["id"] is not None else Unresolved.NOT_HERE
        for session, row in zip(sessions, rows, strict=True)
    }


def _principal(row: Any) -> Principal:
    person_id: UUID = row["id"]
    return Principal(
        kind="person",
        id=f"person:{person_id}",
        person_id=person_id,
        name=f"{row['given_name']} {row['family_name']}".strip(),
        locale=row["locale"],
        roles=known_roles(row["roles"] or {}),
        time_zone=row["time_zone"],
        has_reports=row["has_reports"],
    )
