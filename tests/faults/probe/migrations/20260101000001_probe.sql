-- migrate:up

-- One row for each time an event was handled. Deliberately without a unique constraint: nothing but the inbox keeps an
-- effect from doubling, and so a doubling shows.
create table effects (
    caused_by uuid not null,
    subject   text not null,
    sequence  bigint not null
);

-- The same, of a handler that was added later.
create table later (caused_by uuid not null);

-- The newest state of each unit.
create table units_seen (
    id       uuid primary key,
    name     text not null,
    sequence bigint not null
);

-- migrate:down
drop table units_seen, later, effects;
