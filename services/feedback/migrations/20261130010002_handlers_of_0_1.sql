-- migrate:up

-- What the workers of 0.1.x have, who tell nobody: what they have read is behind these, and is not given to them again
-- (ADR 0009). A database that has read nothing yet owes them nothing.
with had (handler, type) as (values
    ('directory.access', 'medled.access.state.v1'),
    ('directory.people', 'medled.person.state.v1'),
    ('directory.sessions', 'medled.session.ended.v1'),
    ('directory.units', 'medled.unit.state.v1'),
    ('feedback.rounds.follow_enrolments', 'medled.enrolment.withdrawn.v1'),
    ('feedback.rounds.follow_enrolments', 'medled.milestone.reached.v1'),
    ('feedback.rounds.follow_enrolments', 'medled.milestone.undone.v1'),
    ('feedback.rounds.follow_people', 'medled.person.state.v1')
), pairs as (
    insert into handler_pairs (consumer, handler, type)
    select 'feedback', handler, type from had where exists (select from inbox_offsets)
), generation as (
    insert into handler_generations (consumer, generation, handler, type)
    select 'feedback', '0.1', handler, type from had where exists (select from inbox_offsets)
)
insert into handler_offsets (consumer, generation, epoch, topic, partition, next_offset)
select consumer, '0.1', epoch, topic, partition, next_offset from inbox_offsets;

-- migrate:down
delete from handler_offsets where generation = '0.1';
delete from handler_generations where generation = '0.1';
delete from handler_pairs;
