-- migrate:up

-- 0.1.0 took any sequence, and one that nobody announced outranks every true fact after it. No sequence is above a million
-- now (ADR 0003): what stands on a higher one makes way for the next fact about it.
update enrolments set sequence = 0 where sequence > 1000000;
update milestones set sequence = 0 where sequence > 1000000;
update rounds set sequence = 0 where sequence > 1000000;
update deliveries set sequence = 0 where sequence > 1000000;
update programmes set sequence = 0 where sequence > 1000000;
update cohorts set sequence = 0 where sequence > 1000000;

-- migrate:down
select 1;
