-- migrate:up

create table programmes (
    id         uuid primary key,
    created_at timestamptz not null
);

-- A version is edited only while it is a draft; cohorts run published ones, which never change again.
create table programme_versions (
    programme_id uuid not null references programmes (id),
    version      int not null check (version >= 1),
    status       text not null check (status in ('draft', 'published', 'retired')),
    title        jsonb not null,        -- {"sv": ..., "en": ...}
    milestones   jsonb not null,        -- shared.events.Milestone, in order
    created_at   timestamptz not null,
    published_at timestamptz,
    retired_at   timestamptz,
    primary key (programme_id, version)
);
create unique index programme_versions_one_draft on programme_versions (programme_id) where status = 'draft';

-- Full is not stored: an open cohort is full while its places are taken.
create table cohorts (
    id                uuid primary key,
    programme_id      uuid not null,
    programme_version int not null,
    name              text not null,
    capacity          int not null check (capacity >= 1),
    unit_id           uuid references units (id),   -- null: for the whole organisation
    starts_on         date not null,
    ends_on           date not null check (ends_on >= starts_on),
    status            text not null check (status in ('planned', 'open', 'running', 'closed')),
    approvals         int not null default 0,       -- counts approvals, so that waiting people keep the order of theirs
    created_at        timestamptz not null,
    foreign key (programme_id, programme_version) references programme_versions (programme_id, version)
);
create index cohorts_by_programme on cohorts (programme_id, id);

-- migrate:down
drop table cohorts, programme_versions, programmes;
