-- migrate:up

-- Approved is not stored: an approval decides between active and waitlisted in the same transaction.
create table enrolments (
    id             uuid primary key,
    person_id      uuid not null references people (id),
    cohort_id      uuid not null references cohorts (id),
    programme_id   uuid not null references programmes (id),
    status         text not null check (
        status in ('requested', 'declined', 'waitlisted', 'active', 'completed', 'withdrawn', 'expired')),
    requested_at   timestamptz not null,
    approve_before timestamptz not null,
    approval       int,                 -- the cohort's how-manieth approval this was; null while there is none
    changed_at     timestamptz not null -- when it came into its status
);
-- One programme at a time: whoever holds or waits for a place would otherwise take a second one from somebody else.
create unique index enrolments_one_open on enrolments (programme_id, person_id)
    where status in ('requested', 'waitlisted', 'active');
-- Whoever has finished a cohort has had its place, but may take the programme again; the declined may ask again.
create unique index enrolments_one_per_cohort on enrolments (cohort_id, person_id)
    where status in ('requested', 'waitlisted', 'active', 'completed');
create index enrolments_by_cohort on enrolments (cohort_id, id);
create index enrolments_taken on enrolments (cohort_id) where status in ('active', 'completed');
create index enrolments_waiting on enrolments (cohort_id, approval) where status = 'waitlisted';
create index enrolments_by_person on enrolments (person_id, id);

-- Pending is the absence of a row, and what an undone milestone goes back to.
create table enrolment_milestones (
    enrolment_id uuid not null references enrolments (id),
    milestone    text not null,
    status       text not null check (status in ('pending', 'reached', 'attested', 'waived')),
    changed_at   timestamptz not null,
    primary key (enrolment_id, milestone)
);

create view cohorts_shown as
select c.*, v.title as programme_title, n.requested, n.waitlisted, n.active, n.completed
from cohorts c
join programme_versions v on v.programme_id = c.programme_id and v.version = c.programme_version
cross join lateral (
    select count(*) filter (where e.status = 'requested') as requested,
           count(*) filter (where e.status = 'waitlisted') as waitlisted,
           count(*) filter (where e.status = 'active') as active,
           count(*) filter (where e.status = 'completed') as completed
    from enrolments e where e.cohort_id = c.id
) n;

-- With what the organisation knows of the person today, and the place in the waiting list.
create view enrolments_shown as
select e.*, c.name as cohort_name, v.title as programme_title,
       p.given_name || ' ' || p.family_name as person_name, p.unit_id, p.status as person_status, p.manager_id,
       p.time_zone,
       coalesce(m.status = 'active', false) as manager_is_active,
       case e.status when 'waitlisted' then (
           select count(*) from enrolments w
           where w.cohort_id = e.cohort_id and w.status = 'waitlisted' and w.approval <= e.approval
       ) end as position
from enrolments e
join cohorts c on c.id = e.cohort_id
join programme_versions v on v.programme_id = c.programme_id and v.version = c.programme_version
join people p on p.id = e.person_id
left join people m on m.id = p.manager_id;

-- Each handled departure of a person and how many of their enrolments it withdrew.
create table departures (
    event_id   uuid not null,
    person_id  uuid not null,
    withdrawn  int not null,
    handled_at timestamptz not null
);
create index departures_by_event on departures (event_id);

-- migrate:down
drop view enrolments_shown, cohorts_shown;
drop table departures, enrolment_milestones, enrolments;
