-- migrate:up

-- Where each person has stood in the organisation, from when to when: whom a round asks follows from how long people have
-- belonged to a team, not from what HR sends today (ADR 0004). Rows that ended long ago are dropped.
create table standings (
    person_id  uuid not null,
    since      timestamptz not null,
    until      timestamptz,      -- null: still
    manager_id uuid,
    unit_id    uuid not null,
    status     text not null,
    address    bytea,            -- SHA-256 of the address; null: none
    check (until >= since)
);
create unique index standings_now on standings (person_id) where until is null;
create index standings_of_person on standings (person_id);
create index standings_by_manager on standings (manager_id);
create index standings_by_unit on standings (unit_id);
create index standings_past on standings (until) where until is not null;

-- When the first import of this installation was made. Who came with it was there before: nobody can have known them longer.
create table founding (
    only_row boolean primary key default true check (only_row),
    at       timestamptz not null
);

-- Whoever is known to an installation of 0.1.0 was there before, too.
insert into standings (person_id, since, manager_id, unit_id, status, address)
select id, 'epoch', manager_id, unit_id, status, sha256(convert_to(nullif(email, ''), 'UTF8')) from people;
insert into founding (at) select 'epoch' where exists (select from people);

-- migrate:down
drop table founding, standings;
