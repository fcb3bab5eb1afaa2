"""Every SQL statement about which account signs in as whom."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.enrolment.sign_ins.domain import Candidate
from shared.http.pagination import Page, fetch_page
from shared.postgres.pool import Connection
from shared.security.oidc import Account


@dataclass(frozen=True, slots=True)
class SignIn:
    """A binding as stored. `person_status` and `person_name` are today's."""

    issuer: str
    subject: str
    person_id: UUID
    login: str | None
    email: str | None
    bound_at: datetime
    bound_by: str
    person_name: str
    person_status: str


@dataclass(frozen=True, slots=True)
class RefusedSignIn:
    """An account that came and was not let in, the last time."""

    issuer: str
    subject: str
    login: str | None
    reason: str
    at: datetime


_SIGN_IN = """
    s.issuer, s.subject, s.person_id, s.login, s.email, s.bound_at, s.bound_by,
    trim(p.given_name || ' ' || p.family_name), p.status
    from sign_ins s join people p on p.id = s.person_id
"""


async def find(conn: Connection, issuer: str, subject: str) -> SignIn | None:
    """Whom this account signs in, locked: whoever would move it waits."""
    row = await conn.fetchrow(
        f"select {_SIGN_IN} where s.issuer = $1 and s.subject = $2 for no key update of s", issuer, subject
    )
    return SignIn(*row) if row is not None else None


async def of_person(conn: Connection, person_id: UUID, issuer: str) -> SignIn | None:
    """The account of this issuer that signs the person in, locked."""
    row = await conn.fetchrow(
        f"select {_SIGN_IN} where s.person_id = $1 and s.issuer = $2 for no key update of s", person_id, issuer
    )
    return SignIn(*row) if row is not None else None


async def all_of(conn: Connection, person_id: UUID) -> list[SignIn]:
    """Every account that signs the person in, one for each issuer."""
    rows = await conn.fetch(f"select {_SIGN_IN} where s.person_id = $1 order by s.issuer", person_id)
    return [SignIn(*row) for row in rows]


async def page(conn: Connection, after: tuple[str, str] | None, limit: int) -> Page[SignIn]:
    issuer, subject = after or (None, None)
    return await fetch_page(
        conn,
        f"""
        select {_SIGN_IN} where $1::text is null or (s.issuer, s.subject) > ($1, $2::text)
        order by s.issuer, s.subject limit $3
        """,
        issuer,
        subject,
        limit=limit,
        item=lambda row: SignIn(*row),
        by=("issuer", "subject"),
    )


async def refused(conn: Connection, limit: int) -> list[RefusedSignIn]:
    """Who was not let in, the latest first."""
    rows = await conn.fetch(
        "select issuer, subject, login, reason, at from refused_sign_ins order by at desc limit $1", limit
    )
    return [RefusedSignIn(*row) for row in rows]


async def lock_named(conn: Connection, login: str) -> None:
    """Hold whoever has this login against imports and against another account that comes at the same time."""
    await conn.execute(
        "select from people where lower(login) = lower($1) and status <> 'inactive' order by id for no key update",
        login,
    )


async def candidates(conn: Connection, login: str, issuer: str) -> list[Candidate]:
    """Active people who have this login; capitals make no other one, unless somebody has it exactly so."""
    rows = await conn.fetch(
        """
        with named as (
            select id, login from people where lower(login) = lower($1) and status <> 'inactive' order by id limit 10
        )
        select id,
               exists (select from sign_ins s where s.person_id = n.id and s.issuer = $2)
               or exists (select from ended_sign_ins s where s.person_id = n.id and s.issuer = $2),
               not exists (select from former_logins f where f.person_id = n.id),
               exists (select from former_logins f where lower(f.login) = lower(n.login) and f.person_id <> n.id)
               or exists (select from people o where lower(o.login) = lower(n.login) and o.id <> n.id),
               exists (select from access a where a.person_id = n.id and a.roles <> '{}')
               or exists (select from enrolments e where e.person_id = n.id)
               or exists (select from sign_ins s where s.person_id = n.id)
               or exists (select from ended_sign_ins s where s.person_id = n.id)
               or exists (select from audit_log l where l.principal = 'person:' || n.id)
        from named n
        where n.login = $1 or not exists (select from named o where o.login = $1)
        """,
        login,
        issuer,
    )
    return [Candidate(*row) for row in rows]


async def put(
    conn: Connection, account: Account, person_id: UUID, *, bound_by: str, login: str | None, now: datetime
) -> None:
    """Bind the account. What it was refused before no longer matters."""
    await conn.execute(
        "delete from refused_sign_ins where issuer = $1 and subject = $2", account.issuer, account.subject
    )
    await conn.execute(
        """
        insert into sign_ins (issuer, subject, person_id, login, email, bound_at, bound_by)
        select $1, $2, id, $4, email, $5, $6 from people where id = $3
        """,
        account.issuer, account.subject, person_id, login, now, bound_by,
    )  # fmt: skip


async def end(conn: Connection, issuer: str, subject: str, *, ended_by: str, now: datetime) -> None:
    """The account signs nobody in; that it did is kept."""
    await conn.execute(
        """
        with ended as (
            delete from sign_ins where issuer = $1 and subject = $2
            returning issuer, subject, person_id, login, email, bound_at, bound_by
        )
        insert into ended_sign_ins (issuer, subject, person_id, login, email, bound_at, bound_by, ended_at, ended_by)
        select ended.*, $3, $4 from ended
        """,
        issuer, subject, now, ended_by,
    )  # fmt: skip


async def note_refused(conn: Connection, account: Account, reason: str, now: datetime) -> None:
    """Remember an account that was not let in."""
    await conn.execute(
        """
        insert into refused_sign_ins (issuer, subject, login, reason, at) values ($1, $2, $3, $4, $5)
        on conflict (issuer, subject) do update set login = excluded.login, reason = excluded.reason, at = excluded.at
        """,
        account.issuer, account.subject, account.login, reason, now,
    )  # fmt: skip


async def forget_refused(conn: Connection, until: datetime) -> None:
    """Forget accounts that were refused at that moment or before, and not since."""
    await conn.execute("delete from refused_sign_ins where at <= $1", until)


async def email_of(conn: Connection, person_id: UUID) -> str | None:
    """The person's address today."""
    email: str | None = await conn.fetchval("select email from people where id = $1", person_id)
    return email


async def emails_known(conn: Connection, person_id: UUID) -> list[str]:
    """Every address the person had when an account was bound to them, newest first."""
    rows = await conn.fetch(
        """
        select email from (
            select email, bound_at from sign_ins where person_id = $1
            union all select email, bound_at from ended_sign_ins where person_id = $1
        ) known
        where email is not null group by email order by max(bound_at) desc limit 5
        """,
        person_id,
    )
    return [row["email"] for row in rows]
