-- migrate:up

-- The dashboard's projection of the public topics. One row per thing with its newest state, told by ce_sequence: the same
-- facts in any order and any number of times make the same rows, so no figure can drift.
create table enrolments (
    id           uuid primary key,
    state        text not null,
    sequence     bigint not null,
    cohort_id    uuid not null,
    programme_id uuid not null,
    unit_id      uuid not null,
    changed_at   timestamptz not null
);

create table milestones (
    enrolment_id uuid not null,
    milestone    text not null,         -- its key in the programme
    state        text not null check (state in ('reached', 'attested', 'waived', 'undone')),
    sequence     bigint not null,
    practices    text[] not null,
    programme_id uuid not null,
    unit_id      uuid not null,
    changed_at   timestamptz not null,
    primary key (enrolment_id, milestone)
);

create table rounds (
    id           uuid primary key,
    state        text not null check (state in ('open', 'closed', 'released', 'withheld')),
    sequence     bigint not null,
    programme_id uuid not null,
    unit_id      uuid not null,
    changed_at   timestamptz not null
);

create table deliveries (
    id         uuid primary key,
    state      text not null check (state in ('sent', 'deferred', 'failed')),
    sequence   bigint not null,
    kind       text not null,
    changed_at timestamptz not null
);

-- Names for ids that events carry.
create table programmes (
    id         uuid primary key,
    sequence   bigint not null,
    title      jsonb not null,          -- {"sv": ..., "en": ...}
    milestones jsonb not null           -- {key: {"sv": ..., "en": ...}}
);

create table cohorts (
    id           uuid primary key,
    sequence     bigint not null,
    name         text not null,
    programme_id uuid not null,
    state        text not null check (state in ('open', 'running', 'closed'))
);

-- The open stream, kept for a window. Positions are given out under an advisory lock that is held until commit, so they
-- become visible in their own order and "everything after N" never misses one (DESIGN rule 2 says why ids alone would).
create table stream (
    position       bigint generated always as identity primary key,
    caused_by      uuid not null unique,    -- the event's id
    type           text not null,
    source         text not null,
    subject        text not null,
    time           timestamptz not null,
    sequence       bigint not null,
    unit           uuid,
    programme      uuid,
    correlation_id text not null,
    trace_id       text not null,           -- 32 hex digits
    data           jsonb not null,
    recorded_at    timestamptz not null
);
create index stream_by_age on stream (recorded_at);

-- One row: what has left the window. A reader standing before `pruned_to` has missed something and is told so.
create table stream_window (
    only_row  boolean primary key default true check (only_row),
    pruned_to bigint not null
);
insert into stream_window (pruned_to) values (0);

-- An entry as it is read: with the names of today for what it mentions.
create view stream_entries as
select s.*, u.name as unit_name, p.title as programme_title, c.name as cohort_name,
       p.milestones -> (s.data ->> 'milestone') as milestone_title
from stream s
left join units u on u.id = s.unit
left join programmes p on p.id = s.programme
left join cohorts c on c.id = (s.data ->> 'cohort_id')::uuid;

-- The window moves on by a timer that keeps itself going; this is its first time.
insert into timers (kind, key, due_at) values ('portal.stream.prune', 'stream', now());

-- migrate:down
delete from timers where kind = 'portal.stream.prune';
drop view stream_entries;
drop table stream_window, stream, cohorts, programmes, deliveries, rounds, milestones, enrolments;
