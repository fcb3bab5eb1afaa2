-- migrate:up

-- What the workers of 0.1.x have, who tell nobody: what they have read is behind these, and is not given to them again
-- (ADR 0009). A database that has read nothing yet owes them nothing.
with had (handler, type) as (values
    ('directory.access', 'medled.access.state.v1'),
    ('directory.people', 'medled.person.state.v1'),
    ('directory.sessions', 'medled.session.ended.v1'),
    ('directory.units', 'medled.unit.state.v1'),
    ('notifications.routing.keep_titles', 'medled.cohort.opened.v1'),
    ('notifications.routing.keep_titles', 'medled.programme.published.v1'),
    ('notifications.routing.queue_mail', 'medled.enrolment.activated.v1'),
    ('notifications.routing.queue_mail', 'medled.enrolment.approver_changed.v1'),
    ('notifications.routing.queue_mail', 'medled.enrolment.declined.v1'),
    ('notifications.routing.queue_mail', 'medled.enrolment.expired.v1'),
    ('notifications.routing.queue_mail', 'medled.enrolment.requested.v1'),
    ('notifications.routing.queue_mail', 'medled.enrolment.waitlisted.v1'),
    ('notifications.routing.queue_mail', 'medled.enrolment.withdrawn.v1'),
    ('notifications.routing.queue_mail', 'medled.invitation.issued.v1'),
    ('notifications.routing.queue_mail', 'medled.invitation.revoked.v1'),
    ('notifications.routing.queue_mail', 'medled.results.released.v1'),
    ('notifications.routing.queue_mail', 'medled.round.withheld.v1'),
    ('notifications.routing.queue_mail', 'medled.sign_in.changed.v1'),
    ('notifications.routing.queue_mail', 'medled.teams.changed.v1')
), pairs as (
    insert into handler_pairs (consumer, handler, type)
    select 'notifications', handler, type from had where exists (select from inbox_offsets)
), generation as (
    insert into handler_generations (consumer, generation, handler, type)
    select 'notifications', '0.1', handler, type from had where exists (select from inbox_offsets)
)
insert into handler_offsets (consumer, generation, epoch, topic, partition, next_offset)
select consumer, '0.1', epoch, topic, partition, next_offset from inbox_offsets;

-- migrate:down
delete from handler_offsets where generation = '0.1';
delete from handler_generations where generation = '0.1';
delete from handler_pairs;
