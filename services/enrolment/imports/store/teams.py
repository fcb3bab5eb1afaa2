"""The teams of which an import changes much at once. Stands on `difference`: `people` is as it was before."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.enrolment.imports.domain import FEWEST_CHANGED, LATELY, SHARE
from shared.directory.unit_tree import above
from shared.postgres.pool import Connection

# Who joins or leaves a team, or has another status or unit in it; whoever moves counts in both.
_HITS = """
    select before_manager_id as manager_id, id as person_id from people_after
    where not joined and before_status <> 'inactive' and before_manager_id is not null
      and (status, unit_id, manager_id) is distinct from (before_status, before_unit_id, before_manager_id)
    union
    select manager_id, id from people_after
    where status <> 'inactive' and manager_id is not null
      and (joined or (status, unit_id, manager_id) is distinct from (before_status, before_unit_id, before_manager_id))
"""


@dataclass(frozen=True, slots=True)
class Team:
    """A team that changes: the manager's employee id and name, and how many it has before and after."""

    employee_id: str
    name: str
    unit_ids: Sequence[UUID]
    changed: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Whom to tell of how many teams, and in which units: at most as many as asked for, those with most teams first."""

    person_id: UUID
    may_read: bool
    teams: int
    unit_ids: Sequence[UUID]


async def set_out_teams(conn: Connection, now: datetime) -> int:
    """Set out the teams of which much changes, with what earlier imports changed of them lately; how many they are.

    None of an installation's first import: all of it is new.
    """
    await conn.execute(
        """
        drop table if exists teams_changing;
        create temporary table teams_changing (manager_id uuid, changed int, before int, after int, unit_ids uuid[])
        on commit drop;
        analyze people_after (manager_id, before_manager_id)
        """
    )
    done = await conn.execute(
        f"""
        insert into teams_changing (manager_id, changed, before, after, unit_ids)
        with hit as ({_HITS}), lately as (
            select * from hit
            union
            select c.manager_id, c.person_id from team_changes c
            where c.at > $1 and c.manager_id in (select manager_id from hit)
        ), counted as (
            select manager_id, count(*) as changed from lately group by manager_id having count(*) >= $2
        ), member as (
            select manager_id, unit_id, 1 as was, 1 as becomes from people where status <> 'inactive'
            union all
            select before_manager_id, before_unit_id, 0, -1 from people_after
            where not joined and before_status <> 'inactive'
            union all
            select manager_id, unit_id, 0, 1 from people_after where status <> 'inactive'
        )
        select manager_id, changed, sum(was), sum(becomes), array_agg(distinct unit_id)
        from counted join member using (manager_id)
        where exists (select from people)
        group by manager_id, changed
        having changed * $3 >= least(nullif(sum(was), 0), nullif(sum(becomes), 0))
        """,  # noqa: S608 - a constant of this module
        now - LATELY,
        FEWEST_CHANGED,
        SHARE,
    )
    return int(done.rpartition(" ")[2])


async def sample_teams(conn: Connection, most: int) -> list[Team]:
    """At most `most` of the teams set out, those that change most first."""
    rows = await conn.fetch(
        """
        select coalesce(a.employee_id, p.employee_id) as employee_id,
               trim(coalesce(a.given_name, p.given_name) || ' ' || coalesce(a.family_name, p.family_name)),
               t.unit_ids, t.changed, t.before, t.after
        from teams_changing t left join people p on p.id = t.manager_id left join people_after a on a.id = t.manager_id
        order by t.changed desc, employee_id limit $1
        """,
        most,
    )
    return [Team(*row) for row in rows]


async def notices(conn: Connection, import_id: UUID, most_units: int, now: datetime) -> list[Notice]:
    """Whom to tell of the teams set out: the programme office, each for their units, and whoever sent the file.

    Whoever was at work before this import: it may say of them that they have left. The units it brings are known.
    """
    rows = await conn.fetch(
        f"""
        with recursive team_unit as (
            select manager_id, unnest(unit_ids) as unit_id from teams_changing
        ), unit_count as (
            select unit_id, count(*) as teams from team_unit group by unit_id
        ), {above("select unit_id from unit_count")}, held as (
            select person_id, roles -> 'programme_office' as units from access
            where person_id is not null and roles ? 'programme_office' and (expires_at is null or expires_at > $3)
            union all
            select substr(requested_by, length('person:') + 1)::uuid, 'null' from imports
            where id = $1 and requested_by like 'person:%'
        ), holder as (
            select person_id, bool_or(units = 'null') as is_everywhere from held
            join people p on p.id = person_id and p.status <> 'inactive'
            group by person_id
        ), covered as (
            select distinct h.person_id, above.origin as unit_id
            from holder h join held using (person_id)
            join above on units ? above.id::text
            where not h.is_everywhere
        )
        select person_id, true as may_read, (select count(*) from teams_changing) as teams,
               array(select unit_id from unit_count order by teams desc, unit_id limit $2) as unit_ids
        from holder where is_everywhere
        union all
        select person_id, false, count(distinct t.manager_id),
               array(select unit_id from unit_count join covered o using (unit_id) where o.person_id = c.person_id
                     order by teams desc, unit_id limit $2)
        from covered c join team_unit t using (unit_id)
        group by person_id
        order by person_id
        """,  # noqa: S608 - constants of ours
        import_id,
        most_units,
        now,
    )
    return [Notice(*row) for row in rows]


async def remember_changes(conn: Connection, now: datetime) -> None:
    """Keep whom this import changes of teams of which nobody is told; what was told, or is old, counts no more."""
    await conn.execute(
        "delete from team_changes where at <= $1 or manager_id in (select manager_id from teams_changing)", now - LATELY
    )
    await conn.execute(
        f"""
        insert into team_changes (manager_id, person_id, at)
        select manager_id, person_id, $1 from ({_HITS}) hit
        where manager_id not in (select manager_id from teams_changing) and exists (select from people)
        on conflict (manager_id, person_id) do update set at = excluded.at
        """,  # noqa: S608 - a constant of this module
        now,
    )
