-- migrate:up

-- Who looked at or changed what about somebody else (DESIGN section 5). Rows are added and never touched again, not even
-- by the owner of the table by mistake.
create table audit_log (
    id        uuid primary key,
    at        timestamptz not null,
    principal text not null,
    action    text not null,
    subject   uuid not null
);
create index audit_log_by_subject on audit_log (subject, at);

create function audit_log_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'audit_log is append-only';
end
$$;
create trigger audit_log_append_only before update or delete or truncate on audit_log
    for each statement execute function audit_log_is_append_only();

-- migrate:down
drop table audit_log;
drop function audit_log_is_append_only;
