-- migrate:up

-- One message to one recipient on one channel: the queue and the delivery log in one. It holds ids only: names, addresses
-- and the link are put together when the mail is sent and never stored.
create table notifications (
    id              uuid primary key,
    kind            text not null,
    recipient_id    uuid,                        -- null when the fact named nobody to tell
    locale          text not null,
    params          jsonb not null,
    status          text not null
        check (status in ('queued', 'sending', 'deferred', 'sent', 'failed', 'suppressed')),
    reason          text,
    reply_code      int,                         -- the mail server's last reply; never its words, which repeat addresses
    attempts        int not null default 0,
    series_from     int not null default 0,      -- attempts before the present series, which a retry by hand begins
    resent          int not null default 0,      -- handed over again although the server may have taken it before
    next_attempt_at timestamptz,                 -- business time, when queued or deferred
    lease_until     timestamptz,                 -- the database's time, while sending: a shifted clock must not end a lease
    pointless_after timestamptz,
    message_id      text not null,
    caused_by       uuid not null unique,        -- one fact, one message: the inbox's promise, kept once more here
    correlation_id  text not null,
    traceparent     text,
    tracestate      text,
    created_at      timestamptz not null,
    settled_at      timestamptz                  -- when it became sent, failed or suppressed
);
create index notifications_due on notifications (next_attempt_at) where status in ('queued', 'deferred');
create index notifications_leased on notifications (lease_until) where status = 'sending';
create index notifications_by_status on notifications (status, id);
create index notifications_by_kind on notifications (kind, id);
create index notifications_invitation on notifications ((params ->> 'invitation_id'))
    where kind = 'invitation' and status in ('queued', 'deferred');

-- A revocation may overtake its invitation (replays, redelivery), so it is remembered for itself.
create table revoked_invitations (
    id uuid primary key
);

-- Catalogue titles for the texts of a mail, from the public stream.
create table programmes (
    id    uuid primary key,
    title jsonb not null                         -- {"sv": ..., "en": ...}
);
create table cohorts (
    id   uuid primary key,
    name text not null
);

-- One row: whether the mail server answers, for the operations page.
create table mail_server (
    only_row   boolean primary key default true check (only_row),
    reachable  boolean not null,
    reason     text,
    changed_at timestamptz not null
);

-- migrate:down
drop table mail_server, cohorts, programmes, revoked_invitations, notifications;
