-- migrate:up

-- Sessions that were ended by signing out, until they would have ended by themselves: a row lives for hours.
create table ended_sessions (
    id    uuid primary key,
    until timestamptz not null          -- the machine's time, which a session goes by
);
create index ended_sessions_by_end on ended_sessions (until);

-- migrate:down
drop table ended_sessions;
