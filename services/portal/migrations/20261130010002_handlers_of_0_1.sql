-- migrate:up

-- What the workers of 0.1.x have, who tell nobody: what they have read is behind these, and is not given to them again
-- (ADR 0009). A database that has read nothing yet owes them nothing.
with had (handler, type) as (values
    ('directory.access', 'medled.access.state.v1'),
    ('directory.people', 'medled.person.state.v1'),
    ('directory.sessions', 'medled.session.ended.v1'),
    ('directory.units', 'medled.unit.state.v1'),
    ('portal.dashboard.catalogue', 'medled.cohort.closed.v1'),
    ('portal.dashboard.catalogue', 'medled.cohort.opened.v1'),
    ('portal.dashboard.catalogue', 'medled.cohort.started.v1'),
    ('portal.dashboard.catalogue', 'medled.programme.published.v1'),
    ('portal.dashboard.deliveries', 'medled.notification.deferred.v1'),
    ('portal.dashboard.deliveries', 'medled.notification.failed.v1'),
    ('portal.dashboard.deliveries', 'medled.notification.sent.v1'),
    ('portal.dashboard.enrolments', 'medled.enrolment.activated.v1'),
    ('portal.dashboard.enrolments', 'medled.enrolment.approved.v1'),
    ('portal.dashboard.enrolments', 'medled.enrolment.completed.v1'),
    ('portal.dashboard.enrolments', 'medled.enrolment.declined.v1'),
    ('portal.dashboard.enrolments', 'medled.enrolment.expired.v1'),
    ('portal.dashboard.enrolments', 'medled.enrolment.requested.v1'),
    ('portal.dashboard.enrolments', 'medled.enrolment.waitlisted.v1'),
    ('portal.dashboard.enrolments', 'medled.enrolment.withdrawn.v1'),
    ('portal.dashboard.milestones', 'medled.milestone.attested.v1'),
    ('portal.dashboard.milestones', 'medled.milestone.reached.v1'),
    ('portal.dashboard.milestones', 'medled.milestone.undone.v1'),
    ('portal.dashboard.milestones', 'medled.milestone.waived.v1'),
    ('portal.dashboard.rounds', 'medled.results.released.v1'),
    ('portal.dashboard.rounds', 'medled.round.closed.v1'),
    ('portal.dashboard.rounds', 'medled.round.opened.v1'),
    ('portal.dashboard.rounds', 'medled.round.withheld.v1'),
    ('portal.stream.entries', 'medled.cohort.capacity_changed.v1'),
    ('portal.stream.entries', 'medled.cohort.closed.v1'),
    ('portal.stream.entries', 'medled.cohort.opened.v1'),
    ('portal.stream.entries', 'medled.cohort.started.v1'),
    ('portal.stream.entries', 'medled.enrolment.activated.v1'),
    ('portal.stream.entries', 'medled.enrolment.approved.v1'),
    ('portal.stream.entries', 'medled.enrolment.approver_changed.v1'),
    ('portal.stream.entries', 'medled.enrolment.completed.v1'),
    ('portal.stream.entries', 'medled.enrolment.declined.v1'),
    ('portal.stream.entries', 'medled.enrolment.expired.v1'),
    ('portal.stream.entries', 'medled.enrolment.requested.v1'),
    ('portal.stream.entries', 'medled.enrolment.waitlisted.v1'),
    ('portal.stream.entries', 'medled.enrolment.withdrawn.v1'),
    ('portal.stream.entries', 'medled.milestone.attested.v1'),
    ('portal.stream.entries', 'medled.milestone.reached.v1'),
    ('portal.stream.entries', 'medled.milestone.undone.v1'),
    ('portal.stream.entries', 'medled.milestone.waived.v1'),
    ('portal.stream.entries', 'medled.notification.deferred.v1'),
    ('portal.stream.entries', 'medled.notification.failed.v1'),
    ('portal.stream.entries', 'medled.notification.sent.v1'),
    ('portal.stream.entries', 'medled.person.deactivated.v1'),
    ('portal.stream.entries', 'medled.person.manager_changed.v1'),
    ('portal.stream.entries', 'medled.person.moved.v1'),
    ('portal.stream.entries', 'medled.person.provisioned.v1'),
    ('portal.stream.entries', 'medled.person.reactivated.v1'),
    ('portal.stream.entries', 'medled.programme.published.v1'),
    ('portal.stream.entries', 'medled.programme.retired.v1'),
    ('portal.stream.entries', 'medled.responses.counted.v1'),
    ('portal.stream.entries', 'medled.results.released.v1'),
    ('portal.stream.entries', 'medled.round.closed.v1'),
    ('portal.stream.entries', 'medled.round.opened.v1'),
    ('portal.stream.entries', 'medled.round.withheld.v1'),
    ('portal.stream.entries', 'medled.unit.state.v1')
), pairs as (
    insert into handler_pairs (consumer, handler, type)
    select 'portal', handler, type from had where exists (select from inbox_offsets)
), generation as (
    insert into handler_generations (consumer, generation, handler, type)
    select 'portal', '0.1', handler, type from had where exists (select from inbox_offsets)
)
insert into handler_offsets (consumer, generation, epoch, topic, partition, next_offset)
select consumer, '0.1', epoch, topic, partition, next_offset from inbox_offsets;

-- migrate:down
delete from handler_offsets where generation = '0.1';
delete from handler_generations where generation = '0.1';
delete from handler_pairs;
