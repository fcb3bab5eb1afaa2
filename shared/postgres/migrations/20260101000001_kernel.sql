-- migrate:up

-- Events on their way to Kafka. A row is written in the transaction of the change it announces; the relay marks it when
-- the broker has acknowledged it and keeps it for the retention window, so that a lost broker can be filled again.
create table outbox (
    seq          bigint generated always as identity primary key,
    id           uuid not null,
    topic        text not null,
    key          text not null,
    subject      text not null,
    type         text not null,
    caused_by    uuid,
    headers      text not null,         -- "name: value" lines, the sequence last
    payload      bytea,                 -- null is a tombstone
    compacted    boolean not null default false,  -- its topic keeps the newest per key, and so do we
    created_at   timestamptz not null default clock_timestamp(),
    published_at timestamptz
);
create index outbox_unpublished on outbox (seq) where published_at is null;
create index outbox_newest on outbox (topic, key, seq) where compacted;

-- The last ce_sequence of each aggregate on each topic. The row lock held until commit makes an aggregate's events commit
-- in the order of their sequence, and the sequence free of gaps.
create table outbox_sequences (
    topic   text not null,
    subject text not null,
    last    bigint not null,
    primary key (topic, subject)
);

-- Which event was handled by which handler, and what became of it.
create table inbox (
    handler    text not null,
    event_id   uuid not null,
    outcome    text not null default 'applied' check (outcome in ('applied', 'superseded', 'parked', 'dead')),
    handled_at timestamptz not null default now(),
    primary key (event_id, handler)
);
create index inbox_by_age on inbox using brin (handled_at);

-- How far back a handler's memory reaches: ids of events before that moment may have been dropped.
create table inbox_forgotten (
    handler text primary key,
    before  timestamptz not null
);

-- The newest ce_sequence a latest_state handler has applied for each aggregate.
create table inbox_latest (
    handler  text not null,
    subject  text not null,
    sequence bigint not null,
    primary key (handler, subject)
);

-- How far each partition has been handled, in the transaction of the effects: where a consumer begins, and how `medled
-- verify` knows lag. Kept per life of the broker, so that whoever still writes for the old one spoils nothing.
create table inbox_offsets (
    consumer    text not null,
    epoch       uuid not null,
    topic       text not null,
    partition   int not null,
    next_offset bigint not null,
    primary key (consumer, epoch, topic, partition)
);

-- Records of types this service does not subscribe to: seen, not ours to handle, counted.
create table inbox_skipped (
    consumer text not null,
    type     text not null,
    records  bigint not null,
    primary key (consumer, type)
);

-- Records set aside: `parked` ones wait for their parent and are tried again until `expires_at`; `dead` ones wait for a
-- person. One table, since a replay is nothing but parking a dead record again.
create table set_aside (
    id          uuid primary key,
    consumer    text not null,
    handler     text,                   -- null when the record could not even be decoded
    event_id    uuid,
    epoch       uuid not null,          -- the life of the broker that the offset belongs to
    topic       text not null,
    partition   int not null,
    "offset"    bigint not null,
    key         bytea,
    headers     jsonb not null,         -- [[name, base64 value or null], ...], exactly as they came
    value       bytea,
    state       text not null check (state in ('parked', 'dead', 'discarded')),
    reason      text not null,
    detail      text,
    attempts    int not null default 0,
    set_aside_at timestamptz not null,
    retry_at    timestamptz,
    expires_at  timestamptz
);
create index set_aside_due on set_aside (retry_at) where state = 'parked';
create index set_aside_dead on set_aside (set_aside_at) where state = 'dead';
-- What was decoded is remembered by the inbox; what was not, by where it stood.
create unique index set_aside_once on set_aside (consumer, epoch, topic, partition, "offset") where handler is null;

create table timers (
    kind        text not null,
    key         text not null,
    due_at      timestamptz not null,
    payload     jsonb not null default '{}',
    attempts    int not null default 0,
    last_error  text,
    traceparent text,
    tracestate  text,
    primary key (kind, key)
);
create index timers_due on timers (kind, due_at, key);

-- Which life of the broker this database has published to, and which it has consumed from.
create table broker_epoch (
    role  text primary key,             -- 'relay' or 'consumer'
    epoch uuid not null
);
-- One row: who leads the relay, and when it last said so.
create table relay_leader (
    only_row  boolean primary key default true check (only_row),
    pid       int not null,
    term      bigint not null,
    beat_at   timestamptz not null
);

-- migrate:down
drop table relay_leader, broker_epoch, timers, set_aside, inbox_skipped, inbox_offsets, inbox_latest, inbox_forgotten, inbox,
    outbox_sequences, outbox;
