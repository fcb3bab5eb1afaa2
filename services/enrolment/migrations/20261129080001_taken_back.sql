-- migrate:up

-- When the co-leader took the milestone back, which each may do once: reaching again and again would mail people each time.
alter table enrolment_milestones add column taken_back_at timestamptz;

-- migrate:down
alter table enrolment_milestones drop column taken_back_at;
