-- migrate:up

-- What the workers of 0.1.x have, who tell nobody: what they have read is behind these, and is not given to them again
-- (ADR 0009). A database that has read nothing yet owes them nothing.
with had (handler, type) as (values
    ('directory.sessions', 'medled.session.ended.v1'),
    ('enrolment.enrolments.tell_new_approver', 'medled.person.manager_changed.v1'),
    ('enrolment.enrolments.withdraw_departed', 'medled.person.deactivated.v1')
), pairs as (
    insert into handler_pairs (consumer, handler, type)
    select 'enrolment', handler, type from had where exists (select from inbox_offsets)
), generation as (
    insert into handler_generations (consumer, generation, handler, type)
    select 'enrolment', '0.1', handler, type from had where exists (select from inbox_offsets)
)
insert into handler_offsets (consumer, generation, epoch, topic, partition, next_offset)
select consumer, '0.1', epoch, topic, partition, next_offset from inbox_offsets;

-- migrate:down
delete from handler_offsets where generation = '0.1';
delete from handler_generations where generation = '0.1';
delete from handler_pairs;
