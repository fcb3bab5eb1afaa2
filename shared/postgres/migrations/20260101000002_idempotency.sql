-- migrate:up

-- The first answer to each Idempotency-Key, given again when the same request comes again (DESIGN rule 4). The row is
-- inserted in the transaction of the change, so a second request waits for the first one and finds its answer.
create table idempotency_keys (
    principal   text not null,
    route       text not null,          -- method and path: one key may serve different things
    key         text not null,
    body_sha256 bytea not null,         -- of the query and the body
    status      int,
    headers     jsonb,
    body        text,
    created_at  timestamptz not null,
    primary key (principal, route, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);

-- migrate:down
drop table idempotency_keys;
