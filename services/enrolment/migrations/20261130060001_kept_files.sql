-- migrate:up

-- A file that was sent from the page is kept beyond its dry run, until this time: whoever looks at the dry run goes on with the
-- same file, and takes it along to the import that follows.
alter table imports
    add column kept_until timestamptz,
    add column followed_by uuid references imports (id);

-- migrate:down
alter table imports drop column followed_by, drop column kept_until;
