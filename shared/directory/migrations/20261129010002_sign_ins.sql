-- migrate:up

-- Which account of which issuer signs a person in, as enrolment has bound it. An account can move from one person to
-- another in two records, so it is not unique here: while two hold it, it opens neither's pages.
create table sign_ins (
    issuer    text not null,
    subject   text not null,
    person_id uuid not null,
    primary key (issuer, subject, person_id)
);
create index sign_ins_by_person on sign_ins (person_id);

alter table access add column sessions_from timestamptz; -- the person's sessions from before have ended

-- migrate:down
alter table access drop column sessions_from;
drop table sign_ins;
