"""The directory, as far as choosing whom a round asks reads it."""

from collections import defaultdict
from collections.abc import Collection
from uuid import UUID

import asyncpg

from services.feedback.rounds.domain import Colleague, Surroundings, is_small_team
from shared.db import Connection
from shared.events import PersonStatus

_ONE_AT_A_TIME = 0x6665_6564  # the locks of subjects, apart from all others
_COLLEAGUE = "select id, unit_id, manager_id, status, email is not null as has_address, time_zone from people"


async def around(
    conn: Connection, subject_ids: Collection[UUID], k: int
) -> tuple[dict[UUID, Surroundings], dict[UUID, UUID]]:
    """The people around each of these subjects; and for the others, who is not known yet: the subject or their manager.

    Held until the transaction ends: whoever leaves meanwhile waits, and then finds the invitation to take back; and
    nobody else opens a round about the same subject.
    """
    await conn.execute(
        "select pg_advisory_xact_lock(hashtextextended(id::text, $2)) from unnest($1::uuid[]) as id order by id",
        list(subject_ids),
        _ONE_AT_A_TIME,
    )
    subjects = await _colleagues(conn, subject_ids)
    manager_ids = {subject.manager_id for subject in subjects.values() if subject.manager_id}
    managers = await _colleagues(conn, manager_ids)
    reports: dict[UUID | None, list[Colleague]] = defaultdict(list)
    for one in await _reporting_to(conn, manager_ids | set(subjects)):
        reports[one.manager_id].append(one)
    small = {s.unit_id for s in subjects.values() if is_small_team(s, reports[s.manager_id] if s.manager_id else (), k)}
    units: dict[UUID, list[Colleague]] = defaultdict(list)
    for one in await _belonging_to(conn, small):
        units[one.unit_id].append(one)
    found: dict[UUID, Surroundings] = {}
    missing = {subject_id: subject_id for subject_id in subject_ids if subject_id not in subjects}
    for subject in subjects.values():
        if subject.manager_id and subject.manager_id not in managers:
            missing[subject.id] = subject.manager_id
            continue
        manager = managers[subject.manager_id] if subject.manager_id else None
        team = reports[subject.manager_id] if subject.manager_id else []
        found[subject.id] = Surroundings(subject, manager, team, units[subject.unit_id], reports[subject.id])
    return found, missing


async def _colleagues(conn: Connection, ids: Collection[UUID]) -> dict[UUID, Colleague]:
    rows = await conn.fetch(f"{_COLLEAGUE} where id = any($1::uuid[]) order by id for share", list(ids))
    return {row["id"]: _colleague(row) for row in rows}


async def _reporting_to(conn: Connection, manager_ids: Collection[UUID]) -> list[Colleague]:
    rows = await conn.fetch(f"{_COLLEAGUE} where manager_id = any($1::uuid[]) order by id for share", list(manager_ids))
    return [_colleague(row) for row in rows]


async def _belonging_to(conn: Connection, unit_ids: Collection[UUID]) -> list[Colleague]:
    rows = await conn.fetch(f"{_COLLEAGUE} where unit_id = any($1::uuid[]) order by id for share", list(unit_ids))
    return [_colleague(row) for row in rows]


def _colleague(row: asyncpg.Record) -> Colleague:
    return Colleague(**{**row, "status": PersonStatus(row["status"])})
