-- migrate:up

-- An import under way reads `imports` until its transaction ends. Behind what waits for it everybody else waits, that import's
-- own progress among them, and it would never end: locks are asked for in short tries, with nothing held between them.
do $$
begin
    loop
        begin
            set local lock_timeout = '200ms';
            lock table imports in access exclusive mode;
            lock table people in share row exclusive mode; -- for the foreign key
            exit;
        exception when lock_not_available then
            perform pg_sleep(1);
        end;
    end loop;
end $$;
set local lock_timeout to default;

-- What the last file said of a person, as a fingerprint of the row (see imports/prints.py): a row that says it again is not
-- looked at further. It holds for as long as nothing else has changed the person: `said_at` is the `changed_at` that it was
-- kept with. A table of its own, since workers of 0.1.x copy the columns of people as they know them.
create table people_said (
    person_id uuid primary key references people (id) on delete cascade,
    said      bytea not null,
    said_at   timestamptz not null
);

-- A file is read piece by piece. What is compressed would be unpacked from its beginning for each.
alter table imports alter column content set storage external;

-- migrate:down
alter table imports alter column content set storage extended;
drop table people_said;
