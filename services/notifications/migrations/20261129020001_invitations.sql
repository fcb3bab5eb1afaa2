-- migrate:up

-- Every invitation that was seen, with the event that issued it. An invitation is issued once: a second event of the same
-- id would have its link sent to whom that one names.
create table invitations (
    id        uuid primary key,
    round_id  uuid,                              -- null for those of 0.1.0, which kept no round
    issued_by uuid not null
);
insert into invitations (id, issued_by)
select distinct on (params ->> 'invitation_id') (params ->> 'invitation_id')::uuid, caused_by
from notifications where kind = 'invitation' order by params ->> 'invitation_id', id;

-- migrate:down
drop table invitations;
