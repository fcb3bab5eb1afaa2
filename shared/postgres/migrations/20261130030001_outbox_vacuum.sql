-- migrate:up

-- Every look of the relay walks past what was marked since the last vacuum. By default that may become a fifth of all rows
-- kept, two weeks of them; so it goes by what was marked alone.
alter table outbox set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

-- migrate:down
alter table outbox reset (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
