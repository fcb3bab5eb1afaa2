-- migrate:up

-- The organisation's tree. Owned here; other services have it as a projection with the same columns.
create table units (
    id          uuid primary key,
    name        text not null,
    parent_id   uuid references units (id),
    merged_into uuid references units (id),
    unique nulls not distinct (parent_id, name)
);

create table people (
    id          uuid primary key,
    source      text not null,          -- which HR platform the employee id belongs to
    employee_id text not null,
    login       text,                   -- the subject (`sub`) by which the identity provider knows the person
    given_name  text not null,
    family_name text not null,
    email       text,
    title       text,
    grade       text,
    unit_id     uuid not null references units (id),
    manager_id  uuid references people (id),
    status      text not null check (status in ('active', 'on_leave', 'inactive')),
    locale      text not null,
    time_zone   text not null,
    changed_at  timestamptz not null,
    unique (source, employee_id),
    unique (login) deferrable initially immediate -- two people may swap logins in one statement
);
create index people_by_manager on people (manager_id);
create index people_by_unit on people (unit_id);

-- One row per import, kept as its report. `content` is dropped as soon as the import has ended.
create table imports (
    id           uuid primary key,
    source       text not null,
    options      jsonb not null,
    file_name    text,
    size         bigint not null,
    content      bytea,
    requested_by text not null,
    status       text not null default 'queued' check (status in ('queued', 'running', 'done', 'refused', 'failed')),
    phase        text not null default 'queued'
        check (phase in ('queued', 'reading', 'checking', 'comparing', 'writing', 'announcing', 'done')),
    percent      int not null default 0 check (percent between 0 and 100),
    counts       jsonb not null default '{}',
    report       jsonb,
    created_at   timestamptz not null,
    started_at   timestamptz,
    finished_at  timestamptz
);

create table access (
    principal  text primary key,        -- person:ID or machine:ID
    kind       text not null check (kind in ('person', 'machine')),
    person_id  uuid references people (id),
    name       text not null,
    token_hash bytea unique,            -- SHA-256 of a machine's token; the token itself is nowhere
    roles      jsonb not null,          -- {role: [unit id, ...] or null for everywhere}
    expires_at timestamptz,
    check ((kind = 'person') = (person_id is not null))
);
create unique index access_by_person on access (person_id);

-- migrate:down
drop table access, imports, people, units;
