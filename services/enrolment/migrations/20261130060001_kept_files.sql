-- migrate:up

-- An import under way reads `imports` until its transaction ends. Behind what waits for it everybody else waits, that import's
-- own progress among them, and it would never end: the lock is asked for in short tries, with nothing held between them.
do $$
begin
    loop
        begin
            set local lock_timeout = '200ms';
            lock table imports in access exclusive mode;
            exit;
        exception when lock_not_available then
            perform pg_sleep(1);
        end;
    end loop;
end $$;
set local lock_timeout to default;

-- A file that was sent from the page is kept beyond its dry run, until this time: whoever looks at the dry run goes on with the
-- same file, and takes it along to the import that follows.
alter table imports
    add column kept_until timestamptz,
    add column followed_by uuid references imports (id);

-- migrate:down
alter table imports drop column followed_by, drop column kept_until;
