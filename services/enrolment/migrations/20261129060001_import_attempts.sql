-- migrate:up

-- What kills its process is counted before it begins, and what somebody ended is told apart from what failed.
alter table imports
    add column attempts int not null default 0,
    add column cancelled_by text, -- who asked for it; the import ends as soon as whoever works on it looks
    drop constraint imports_status_check,
    add constraint imports_status_check
        check (status in ('queued', 'running', 'done', 'refused', 'failed', 'cancelled'));

create index imports_unfinished on imports (source, created_at, id) where status in ('queued', 'running');

-- migrate:down
drop index imports_unfinished;
alter table imports drop column cancelled_by, drop column attempts;
