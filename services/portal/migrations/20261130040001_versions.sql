-- migrate:up

-- A cohort runs one version of its programme. What is said of its milestones has the titles of that version, whatever was
-- published since.
create table programme_versions (
    programme_id uuid not null,
    version      int not null,
    milestones   jsonb not null,        -- {key: {"sv": ..., "en": ...}}
    primary key (programme_id, version)
);
create table cohort_versions (
    cohort_id    uuid primary key,
    programme_id uuid not null,
    version      int not null
);

create or replace view stream_entries as
select s.*, u.name as unit_name, p.title as programme_title, c.name as cohort_name,
       coalesce(v.milestones, p.milestones) -> (s.data ->> 'milestone') as milestone_title
from stream s
left join units u on u.id = s.unit
left join programmes p on p.id = s.programme
left join cohorts c on c.id = (s.data ->> 'cohort_id')::uuid
left join cohort_versions cv on cv.cohort_id = c.id
left join programme_versions v on v.programme_id = cv.programme_id and v.version = cv.version;

-- migrate:down
create or replace view stream_entries as
select s.*, u.name as unit_name, p.title as programme_title, c.name as cohort_name,
       p.milestones -> (s.data ->> 'milestone') as milestone_title
from stream s
left join units u on u.id = s.unit
left join programmes p on p.id = s.programme
left join cohorts c on c.id = (s.data ->> 'cohort_id')::uuid;
drop table cohort_versions, programme_versions;
