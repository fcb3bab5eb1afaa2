-- migrate:up

-- What the last file said of a person, as a fingerprint of the row (see imports/prints.py): a row that says it again is not
-- looked at further. It counts for as long as nothing else has changed the person, so `said_at` is the `changed_at` that
-- it was kept with. None: the row had something to tell, or was never seen.
alter table people add column said bytea, add column said_at timestamptz;

-- A file is read piece by piece. What is compressed would be unpacked from its beginning for each.
alter table imports alter column content set storage external;

-- migrate:down
alter table imports alter column content set storage extended;
alter table people drop column said_at, drop column said;
