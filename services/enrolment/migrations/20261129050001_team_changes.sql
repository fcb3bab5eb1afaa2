-- migrate:up

-- Whom imports of the last day changed of which team (ADR 0004), unless the programme office was told of it. Kept so that
-- several small files tell what one large file would.
create table team_changes (
    manager_id uuid not null,
    person_id  uuid not null,           -- joined or left the team, or has another status or unit
    at         timestamptz not null,
    primary key (manager_id, person_id)
);
create index team_changes_by_age on team_changes (at);

-- migrate:down
drop table team_changes;
