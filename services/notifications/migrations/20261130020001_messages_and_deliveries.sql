-- migrate:up

-- What somebody is told of a fact: one message of one kind to one recipient, which events call a notification. It holds ids
-- only; names, addresses and the link are put together when it is sent and never stored (ADR 0010).
create table messages (
    id              uuid primary key,
    public_id       uuid,                        -- what events call it, when not its id: random, for mail about a round
    kind            text not null,
    recipient_id    uuid,                        -- null when the fact named nobody to tell
    locale          text not null,
    params          jsonb not null,
    pointless_after timestamptz,
    caused_by       uuid not null,
    correlation_id  text not null,
    traceparent     text,
    tracestate      text,
    created_at      timestamptz not null,
    unique nulls not distinct (caused_by, kind, recipient_id) -- the inbox's promise, kept once more here
);
create index messages_by_age on messages (kind, created_at);
create index messages_invitation on messages ((params ->> 'invitation_id')) where kind = 'invitation';
create index messages_approval on messages ((params ->> 'enrolment_id')) where kind = 'approval_needed';

-- A message on one channel: the queue and the delivery log in one.
create table deliveries (
    id              uuid primary key,
    notification_id uuid not null references messages on delete cascade,
    channel         text not null,
    kind            text not null,               -- the message's: the log is filtered by it
    status          text not null
        check (status in ('queued', 'sending', 'deferred', 'sent', 'failed', 'suppressed')),
    reason          text,
    reply_code      int,                         -- the mail server's last reply; never its words, which repeat addresses
    attempts        int not null default 0,
    series_from     int not null default 0,      -- attempts before the present series, which a retry by hand begins
    resent          int not null default 0,      -- handed over again although the server may have taken it before
    next_attempt_at timestamptz,                 -- business time, when queued or deferred
    lease_until     timestamptz,                 -- the database's time, while sending: a shifted clock must not end a lease
    known_address   text,                        -- instead of the address of today (ADR 0007), until it is settled
    message_id      text not null,               -- the mail's header
    settled_at      timestamptz,                 -- when it became sent, failed or suppressed
    unique (notification_id, channel),
    constraint no_address_of_what_is_settled check (known_address is null or settled_at is null)
);
create index deliveries_due on deliveries (channel, next_attempt_at) where status in ('queued', 'deferred');
create index deliveries_leased on deliveries (channel, lease_until) where status = 'sending';
create index deliveries_by_status on deliveries (status, id);
create index deliveries_by_kind on deliveries (kind, id);

lock table notifications in access exclusive mode;
insert into messages (id, public_id, kind, recipient_id, locale, params, pointless_after, caused_by, correlation_id, traceparent,
    tracestate, created_at)
select id, public_id, kind, recipient_id, locale, params, pointless_after, caused_by, correlation_id, traceparent, tracestate,
    created_at
from notifications order by id;
insert into deliveries (id, notification_id, channel, kind, status, reason, reply_code, attempts, series_from, resent,
    next_attempt_at, lease_until, known_address, message_id, settled_at)
select id, id, 'mail', kind, status, reason, reply_code, attempts, series_from, resent, next_attempt_at, lease_until,
    known_address, message_id, settled_at
from notifications order by id;

-- During a rolling upgrade workers of 0.1 go on asking for `notifications`. It stays, empty, and whoever writes to it is told "not
-- now" (57P03), which they take for a database that is away: they wait, and set nothing aside as at fault, until they are
-- replaced. The release after this one drops it.
truncate notifications;
drop index notifications_due, notifications_leased, notifications_by_status, notifications_by_kind, notifications_invitation;
create function not_for_0_1() returns trigger language plpgsql as $$
begin
    raise exception 'this database is newer than the process that asks' using errcode = '57P03';
end
$$;
create trigger not_for_0_1 before insert or update or delete on notifications
    for each statement execute function not_for_0_1();

-- What is left of mail about rounds that is forgotten.
create table forgotten_deliveries (
    month      date not null,                    -- in which the messages were made, in UTC
    kind       text not null,
    channel    text not null,
    status     text not null,
    deliveries bigint not null,
    primary key (month, kind, channel, status)
);

-- Since when, so that they too are forgotten; and of an invitation not before its link has ended. The default is for workers of
-- 0.1, whose statements must reach the table above to be told to wait.
alter table invitations add column seen_at timestamptz not null default now(), add column closes_at timestamptz;
update invitations i set seen_at = m.created_at, closes_at = m.pointless_after from messages m where m.caused_by = i.issued_by;
alter table revoked_invitations add column seen_at timestamptz not null default now();

insert into timers (kind, key, due_at) values ('notifications.forget_round_mail', 'daily', now());

-- migrate:down
delete from timers where kind = 'notifications.forget_round_mail';
alter table revoked_invitations drop column seen_at;
alter table invitations drop column seen_at, drop column closes_at;
drop table forgotten_deliveries;
drop trigger not_for_0_1 on notifications;
drop function not_for_0_1;
insert into notifications (id, kind, recipient_id, locale, params, status, reason, reply_code, attempts, series_from, resent,
    next_attempt_at, lease_until, pointless_after, message_id, caused_by, correlation_id, traceparent, tracestate, created_at,
    settled_at, known_address, public_id)
select m.id, m.kind, m.recipient_id, m.locale, m.params, d.status, d.reason, d.reply_code, d.attempts, d.series_from, d.resent,
    d.next_attempt_at, d.lease_until, m.pointless_after, d.message_id, m.caused_by, m.correlation_id, m.traceparent,
    m.tracestate, m.created_at, d.settled_at, d.known_address, m.public_id
from messages m join deliveries d on d.notification_id = m.id and d.channel = 'mail' order by m.id;
create index notifications_due on notifications (next_attempt_at) where status in ('queued', 'deferred');
create index notifications_leased on notifications (lease_until) where status = 'sending';
create index notifications_by_status on notifications (status, id);
create index notifications_by_kind on notifications (kind, id);
create index notifications_invitation on notifications ((params ->> 'invitation_id'))
    where kind = 'invitation' and status in ('queued', 'deferred');
drop table deliveries, messages;
