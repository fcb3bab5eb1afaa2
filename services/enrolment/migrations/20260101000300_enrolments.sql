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
-- One place to ask for: whoever has finished has had it, whoever was declined or left may ask again.
create unique index enrolments_one_open on enrolments (cohort_id, person_id)
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

-- Each handled departure of a person and how many of their enrolments it withdrew.
create table departures (
    event_id   uuid not null,
    person_id  uuid not null,
    withdrawn  int not null,
    handled_at timestamptz not null
);
create index departures_by_event on departures (event_id);

-- migrate:down
drop table departures, enrolment_milestones, enrolments;
