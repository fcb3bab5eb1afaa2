-- migrate:up

-- What is on record may be forgotten in one way only: by this function, which leaves its own record. `about`: what was done
-- to or by one person alone; null: to and by anybody. At most `most` rows at a time; returns how many went.
create function audit_log_forget(by text, before timestamptz, about uuid, most int, record uuid, told_at timestamptz)
returns bigint language plpgsql as $$
declare
    gone bigint;
begin
    perform set_config('medled.audit_log_forgets', 'on', true);
    delete from audit_log where id = any(array(
        select id from audit_log
        where at < before and action <> 'audit.forgotten'
            and (about is null or subject = about or principal = 'person:' || about)
        order by at limit most));
    get diagnostics gone = row_count;
    perform set_config('medled.audit_log_forgets', 'off', true);
    if gone > 0 then
        insert into audit_log (id, at, principal, action, subject)
        values (record, told_at, by, 'audit.forgotten', coalesce(about, '00000000-0000-0000-0000-000000000000'));
    end if;
    return gone;
end
$$;

create or replace function audit_log_is_append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and current_setting('medled.audit_log_forgets', true) = 'on' then
        return null;
    end if;
    raise exception 'audit_log is append-only' using hint = 'audit_log_forget() is the one way, and is on record itself.';
end
$$;
create index audit_log_by_age on audit_log using brin (at);

-- Parked records are claimed in the order in which their next try comes, which this index has for each consumer.
create index set_aside_parked on set_aside (consumer, retry_at) where state = 'parked';
drop index set_aside_due;

-- migrate:down
create index set_aside_due on set_aside (retry_at) where state = 'parked';
drop index set_aside_parked, audit_log_by_age;
create or replace function audit_log_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'audit_log is append-only';
end
$$;
drop function audit_log_forget;
