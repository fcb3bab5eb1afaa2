-- migrate:up

-- Which account of which issuer signs a person in: bound once, moved by nobody but an operator (ADR 0007).
create table sign_ins (
    issuer    text not null,
    subject   text not null,
    person_id uuid not null references people (id),
    login     text,                     -- HR's, by which the person was found; null: an operator said who it is
    email     text,                     -- the person's address then, which is told of a change whatever HR says since
    bound_at  timestamptz not null,
    bound_by  text not null,            -- who did: the person themselves, an operator
    primary key (issuer, subject),
    unique (issuer, person_id)
);
create index sign_ins_by_person on sign_ins (person_id);

-- Bindings of before. Whoever had one is never bound again by a login alone.
create table ended_sign_ins (
    issuer    text not null,
    subject   text not null,
    person_id uuid not null references people (id),
    login     text,
    email     text,
    bound_at  timestamptz not null,
    bound_by  text not null,
    ended_at  timestamptz not null,
    ended_by  text not null
);
create index ended_sign_ins_by_person on ended_sign_ins (person_id);

-- Accounts that came and were not let in, for an operator to decide about: the last time of each.
create table refused_sign_ins (
    issuer  text not null,
    subject text not null,
    login   text,
    reason  text not null,
    at      timestamptz not null,
    primary key (issuer, subject)
);
create index refused_sign_ins_by_age on refused_sign_ins (at);

-- Logins that people had before the one they have.
create table former_logins (
    login     text not null,
    person_id uuid not null references people (id),
    until     timestamptz not null,
    primary key (login, person_id)
);
create index former_logins_by_person on former_logins (person_id);
create index former_logins_folded on former_logins (lower(login));
create index audit_log_by_principal on audit_log (principal);

create index people_by_folded_login on people (lower(login)); -- providers do not tell capitals from small letters

alter table access add column sessions_from timestamptz; -- the person's sessions from before have ended

-- migrate:down
alter table access drop column sessions_from;
drop index people_by_folded_login, audit_log_by_principal;
drop table former_logins, refused_sign_ins, ended_sign_ins, sign_ins;
