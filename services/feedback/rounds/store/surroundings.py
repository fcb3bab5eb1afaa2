"""The directory, as far as choosing whom a round asks reads it: who is known where, and who can be reached today."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from services.feedback.rounds.domain import Colleague, Surroundings, TeamMember, is_small_team
from services.feedback.teams import store as teams
from services.feedback.teams.domain import Placement, address_digest, known_places
from shared.events import PersonStatus
from shared.postgres.pool import Connection

_ONE_AT_A_TIME = 0x6665_6564  # the locks of subjects, apart from all others


@dataclass(frozen=True, slots=True)
class KnownSince:
    """When one looks, and how long somebody must have belonged to a team to be known there."""

    now: datetime
    known_for: timedelta

    @property
    def since(self) -> datetime:
        return self.now - 2 * self.known_for


async def around(
    conn: Connection, subject_ids: Collection[UUID], k: int, look: KnownSince
) -> tuple[dict[UUID, Surroundings], dict[UUID, UUID]]:
    """The people around each of these subjects; for the others, who is not told of yet: subject or manager.

    Held until the transaction ends: whoever leaves meanwhile waits, and then finds the invitation to take back; and
    nobody else opens a round about the same subject.
    """
    await conn.execute(
        "select pg_advisory_xact_lock(hashtextextended(id::text, $2)) from unnest($1::uuid[]) as id order by id",
        list(subject_ids),
        _ONE_AT_A_TIME,
    )
    subjects = await _colleagues(conn, subject_ids)
    posts = [one for one in await teams.of_people(conn, list(subjects), look.since) if one.here]
    managers_of = known_places(posts, lambda one: one.manager_id, now=look.now, known_for=look.known_for)
    units_of = known_places(posts, lambda one: one.unit_id, now=look.now, known_for=look.known_for)
    manager_ids = {manager for manager in managers_of.values() if manager is not None}
    managers = await _colleagues(conn, manager_ids)
    untold = manager_ids - managers.keys() - await teams.told_of(conn, manager_ids)
    reports = _by_place(
        await teams.under_managers(conn, manager_ids | subjects.keys(), look.since), lambda one: one.manager_id, look
    )
    small = {
        unit for subject, unit in units_of.items()
        if is_small_team(subject, reports.get(managers_of.get(subject), ()), k)
    }  # fmt: skip
    units = _by_place(await teams.in_units(conn, small, look.since), lambda one: one.unit_id, look)
    everybody = {person for place in (*reports.values(), *units.values()) for person in place}
    reachable = await _reachable(conn, everybody, look)

    def people(ids: Iterable[UUID]) -> list[TeamMember]:
        return [TeamMember(person, person in reachable) for person in ids]

    found: dict[UUID, Surroundings] = {}
    missing = {subject_id: subject_id for subject_id in subject_ids if subject_id not in subjects}
    for subject in subjects.values():
        manager_id = managers_of.get(subject.id)
        if manager_id is not None and manager_id in untold:
            missing[subject.id] = manager_id
            continue
        found[subject.id] = Surroundings(
            subject, managers.get(manager_id) if manager_id else None,
            team=people(reports.get(manager_id, ()) if manager_id else ()),
            unit=people(units.get(units_of.get(subject.id), ())),
            led=people(reports.get(subject.id, ())),
            known=subject.id in managers_of and subject.id in units_of,
        )  # fmt: skip
    return found, missing


def _by_place(
    standings: Iterable[Placement], place: Callable[[Placement], UUID | None], look: KnownSince
) -> Mapping[UUID | None, list[UUID]]:
    """Who is known at each place: could have answered there for long enough."""
    there = known_places([one for one in standings if one.could_answer], place, now=look.now, known_for=look.known_for)
    people: dict[UUID | None, list[UUID]] = defaultdict(list)
    for person, where in there.items():
        people[where].append(person)
    return people


async def _reachable(conn: Connection, person_ids: Collection[UUID], look: KnownSince) -> set[UUID]:
    """Who of these an invitation reaches today: has not left, and gets mail where they have long had it.

    An address that changed lately is none: whoever may send HR files could take answers in another's place.
    """
    rows = await conn.fetch(
        "select id, status, email from people where id = any($1::uuid[]) order by id for share", list(person_ids)
    )
    with_address = [one for one in await teams.of_people(conn, person_ids, look.since) if one.address is not None]
    addresses = known_places(with_address, lambda one: one.address, now=look.now, known_for=look.known_for)
    return {
        row["id"] for row in rows
        if row["status"] != PersonStatus.inactive and row["email"]
        and addresses.get(row["id"]) == address_digest(row["email"])
    }  # fmt: skip


async def _colleagues(conn: Connection, ids: Collection[UUID]) -> dict[UUID, Colleague]:
    rows = await conn.fetch(
        """
        select id, status, coalesce(email, '') <> '' as has_address, time_zone
        from people where id = any($1::uuid[]) order by id for share
        """,
        list(ids),
    )
    return {row["id"]: _colleague(row) for row in rows}


def _colleague(row: asyncpg.Record) -> Colleague:
    return Colleague(**{**row, "status": PersonStatus(row["status"])})
