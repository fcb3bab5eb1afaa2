-- migrate:up

-- Where a message goes that must not go to the address its person has today: one they were known by before (ADR 0007). It is
-- gone as soon as the message is settled.
alter table notifications
    add column known_address text,
    add constraint no_address_of_what_is_settled check (known_address is null or settled_at is null);

-- migrate:down
alter table notifications drop column known_address;
