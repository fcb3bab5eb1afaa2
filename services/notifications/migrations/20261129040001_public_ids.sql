-- migrate:up

-- What events call a message about a round: random, since our ids sort by time and would tell which messages were made in one
-- go, for one round. Null: its own id, as for every other message, and for round mail queued by 0.1.0.
alter table notifications add column public_id uuid;

-- migrate:down
alter table notifications drop column public_id;
