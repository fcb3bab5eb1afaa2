"""Every statement about programmes and their versions."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.enrolment.programmes.domain import Version, VersionStatus
from shared.events import Milestone, Title
from shared.http.pagination import Page, fetch_page
from shared.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class Summary:
    """A programme in a list: its newest version and, when there is one, the newest published."""

    id: UUID
    newest: Version
    published_version: int | None


async def insert_programme(conn: Connection, programme_id: UUID, now: datetime) -> None:
    """A programme, as yet without versions."""
    await conn.execute("insert into programmes (id, created_at) values ($1, $2)", programme_id, now)


async def insert_version(conn: Connection, version: Version, now: datetime) -> bool:
    """Keep a new version; False when the programme has a draft already."""
    row = await conn.fetchrow(
        """
        insert into programme_versions (programme_id, version, status, title, milestones, created_at)
        values ($1, $2, $3, $4, $5, $6) on conflict do nothing returning version
        """,
        version.programme_id,
        version.version,
        version.status,
        version.title.model_dump(mode="json"),
        [milestone.model_dump(mode="json") for milestone in version.milestones],
        now,
    )
    return row is not None


async def update_version(conn: Connection, version: Version, now: datetime) -> None:
    """Write a version's content and status; a version that is no draft keeps its content whatever is given."""
    await conn.execute(
        """
        update programme_versions set
            status = $3,
            title = case status when 'draft' then $4::jsonb else title end,
            milestones = case status when 'draft' then $5::jsonb else milestones end,
            published_at = case when $3 = 'published' then coalesce(published_at, $6) else published_at end,
            retired_at = case when $3 = 'retired' then coalesce(retired_at, $6) end
        where programme_id = $1 and version = $2
        """,
        version.programme_id,
        version.version,
        version.status,
        version.title.model_dump(mode="json"),
        [milestone.model_dump(mode="json") for milestone in version.milestones],
        now,
    )


async def lock_version(conn: Connection, programme_id: UUID, version: int) -> Version | None:
    """One version, which nobody else changes until this transaction ends."""
    row = await conn.fetchrow(
        "select * from programme_versions where programme_id = $1 and version = $2 for update", programme_id, version
    )
    return _version(row) if row else None


async def share_version(conn: Connection, programme_id: UUID, version: int | None) -> Version | None:
    """One version, by default the newest published one, kept in its state until this transaction ends."""
    row = await conn.fetchrow(
        """
        select * from programme_versions
        where programme_id = $1 and version = coalesce($2, (
            select max(version) from programme_versions where programme_id = $1 and status = 'published'))
        for share
        """,
        programme_id,
        version,
    )
    return _version(row) if row else None


async def versions(conn: Connection, programme_id: UUID) -> list[Version]:
    """All versions of a programme, the oldest first; none for an unknown one."""
    rows = await conn.fetch("select * from programme_versions where programme_id = $1 order by version", programme_id)
    return [_version(row) for row in rows]


async def lock_versions(conn: Connection, programme_id: UUID) -> list[Version]:
    """All versions, while nobody else adds one."""
    await conn.execute("select from programmes where id = $1 for update", programme_id)
    return await versions(conn, programme_id)


async def page(conn: Connection, *, after: UUID | None, limit: int) -> Page[Summary]:
    """Programmes in the order they were made, following `after`."""
    return await fetch_page(
        conn,
        """
        select v.*, (select max(version) from programme_versions p
                     where p.programme_id = v.programme_id and p.status = 'published') as published_version
        from programmes join lateral (
            select * from programme_versions where programme_id = programmes.id order by version desc limit 1
        ) v on true
        where $1::uuid is null or programmes.id > $1
        order by programmes.id limit $2
        """,
        after,
        limit=limit,
        item=lambda row: Summary(row["programme_id"], _version(row), row["published_version"]),
        by=("programme_id",),
    )


def _version(row: asyncpg.Record) -> Version:
    return Version(
        programme_id=row["programme_id"],
        version=row["version"],
        status=VersionStatus(row["status"]),
        title=Title(**row["title"]),
        milestones=tuple(Milestone.model_validate(milestone) for milestone in row["milestones"]),
    )
