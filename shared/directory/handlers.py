"""A service's own copy of people, units, roles and sign-ins, kept from the three compacted topics.

Enrolment owns these tables and needs no copy. Of ended sessions, which the portal announces, it keeps one as well.
Elsewhere a page, a mail or a permission is decided from here, without asking anybody.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.events.access import AccessState
from shared.events.people import PersonState
from shared.events.sessions import SESSION_SECONDS, SessionEnded
from shared.events.units import UnitState
from shared.messaging.handler import Handler, Received
from shared.postgres.pool import Connection
from shared.service import Migrations

MIGRATIONS = Migrations("schema_migrations_directory", Path(__file__).parent / "migrations")
"""A service that keeps a copy stands on these."""

TABLES = ("people", "units", "access", "sign_ins")
"""What is kept, under the names that the owner's tables have: `medled verify` compares them, column by column."""


def handlers() -> list[Handler]:
    """Handlers that keep `people`, `units`, `access`, `sign_ins` and `ended_sessions`; a tombstone removes its row."""
    return [
        *session_handlers(),
        Handler("directory.people", (PersonState,), keep_people, mode="latest_state"),
        Handler("directory.units", (UnitState,), keep_units, mode="latest_state"),
        Handler("directory.access", (AccessState,), keep_access, mode="latest_state"),
    ]


def session_handlers() -> list[Handler]:
    """The one that every service needs: it keeps `ended_sessions`."""
    return [Handler("directory.sessions", (SessionEnded,), keep_ended_sessions, mode="every_fact")]


async def keep_people(conn: Connection, events: Sequence[Received[PersonState]], _: datetime) -> None:
    """Store each person's newest state; forget who was erased."""
    newest, gone = _newest(events)
    people = [state for state in newest if isinstance(state, PersonState)]
    await conn.execute("delete from people where id = any($1::uuid[])", [UUID(key) for key in gone])
    await conn.execute(
        """
        insert into people (id, login, given_name, family_name, email, title, unit_id, manager_id, status, locale,
                            time_zone)
        select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[],
                             $8::uuid[], $9::text[], $10::text[], $11::text[])
        order by 1 -- as everybody locks people
        on conflict (id) do update set login = excluded.login, given_name = excluded.given_name,
            family_name = excluded.family_name, email = excluded.email, title = excluded.title,
            unit_id = excluded.unit_id, manager_id = excluded.manager_id, status = excluded.status,
            locale = excluded.locale, time_zone = excluded.time_zone
        """,
        [p.person_id for p in people], [p.login for p in people], [p.given_name for p in people],
        [p.family_name for p in people], [p.email for p in people], [p.title for p in people],
        [p.unit_id for p in people], [p.manager_id for p in people], [p.status.value for p in people],
        [p.locale for p in people], [p.time_zone for p in people],
    )  # fmt: skip


async def keep_units(conn: Connection, events: Sequence[Received[UnitState]], _: datetime) -> None:
    """Store each unit's newest state; forget units that are gone."""
    newest, gone = _newest(events)
    units = [state for state in newest if isinstance(state, UnitState)]
    await conn.execute("delete from units where id = any($1::uuid[])", [UUID(key) for key in gone])
    await conn.execute(
        """
        insert into units (id, name, parent_id, merged_into)
        select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[])
        on conflict (id) do update set name = excluded.name, parent_id = excluded.parent_id,
            merged_into = excluded.merged_into
        """,
        [u.unit_id for u in units], [u.name for u in units], [u.parent_id for u in units],
        [u.merged_into for u in units],
    )  # fmt: skip


async def keep_access(conn: Connection, events: Sequence[Received[AccessState]], _: datetime) -> None:
    """Store each principal's newest roles and sign-ins; forget principals that were revoked."""
    newest, gone = _newest(events)
    held = [state for state in newest if isinstance(state, AccessState)]
    await _keep_sign_ins(conn, held, gone)
    await conn.execute("delete from access where principal = any($1::text[])", gone)
    await conn.execute(
        """
        insert into access (principal, kind, person_id, name, token_hash, roles, expires_at, sessions_from)
        select * from unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::bytea[], $6::jsonb[],
                             $7::timestamptz[], $8::timestamptz[])
        on conflict (principal) do update set kind = excluded.kind, person_id = excluded.person_id,
            name = excluded.name, token_hash = excluded.token_hash, roles = excluded.roles,
            expires_at = excluded.expires_at, sessions_from = excluded.sessions_from
        """,
        [a.principal for a in held], [a.kind.value for a in held], [a.person_id for a in held],
        [a.name for a in held], [bytes.fromhex(a.token_hash) if a.token_hash else None for a in held],
        [a.model_dump(mode="json")["roles"] for a in held], [a.expires_at for a in held],
        [a.sessions_from for a in held],
    )  # fmt: skip


async def _keep_sign_ins(conn: Connection, held: Sequence[AccessState], gone: Sequence[str]) -> None:
    people = [state.person_id for state in held if state.person_id is not None]
    erased = [UUID(each.removeprefix("person:")) for each in gone if each.startswith("person:")]
    await conn.execute("delete from sign_ins where person_id = any($1::uuid[])", people + erased)
    bound = [(each, state.person_id) for state in held if state.person_id is not None for each in state.sign_ins]
    await conn.execute(
        """
        insert into sign_ins (issuer, subject, person_id) select * from unnest($1::text[], $2::text[], $3::uuid[])
        on conflict do nothing
        """,
        [sign_in.issuer for sign_in, _ in bound], [sign_in.subject for sign_in, _ in bound],
        [person_id for _, person_id in bound],
    )  # fmt: skip


async def keep_ended_sessions(conn: Connection, events: Sequence[Received[SessionEnded]], _: datetime) -> None:
    """Remember sessions that were ended, until they would have ended by themselves."""
    await end_sessions(conn, [event.data for event in events])


async def end_sessions(conn: Connection, ended: Sequence[SessionEnded]) -> None:
    """End these sessions here, and forget those that are over by now, by the machine's clock, as sessions are.

    None is remembered for longer than a session lasts, even if the event says so.
    """
    await conn.execute("delete from ended_sessions where until < clock_timestamp()")
    await conn.execute(
        """
        insert into ended_sessions (id, until)
        select distinct on (id) id, least(until, clock_timestamp() + $3::interval)
        from unnest($1::uuid[], $2::timestamptz[]) as t(id, until)
        where until >= clock_timestamp() on conflict do nothing
        """,
        [session.session_id for session in ended],
        [session.until for session in ended],
        timedelta(seconds=SESSION_SECONDS),
    )


def _newest(events: Sequence[Received[Any]]) -> tuple[list[Any], list[str]]:
    """The newest state of each subject, and the subjects that are gone: an upsert may touch a row only once."""
    last: dict[str, Received[Any]] = {}
    for event in events:
        if event.subject not in last or last[event.subject].sequence <= event.sequence:
            last[event.subject] = event
    states = [event.data for event in last.values() if event.data is not None]
    return states, [subject for subject, event in last.items() if event.data is None]
