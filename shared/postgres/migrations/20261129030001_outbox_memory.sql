-- migrate:up

-- How far back the outbox remembers: rows published before that moment may have been dropped. No row: it has all it ever
-- had. What it no longer has, nobody can tell from a forgery.
create table outbox_forgotten (
    only_row boolean primary key default true check (only_row),
    before   timestamptz not null
);

-- Until now nobody kept that. Where fewer rows are there than were counted, some have been dropped: all of them were
-- published before any that is left.
insert into outbox_forgotten (before)
select coalesce((select min(published_at) from outbox where not compacted), now())
where (select coalesce(sum(last), 0) from outbox_sequences)
    > (select count(*) from outbox o where exists (
        select from outbox_sequences s where s.topic = o.topic and s.subject = o.subject));

-- migrate:down
drop table outbox_forgotten;
