-- migrate:up

-- One feedback collection on one co-leader. The private key is there exactly while the round is open, wrapped by a
-- secret that no database role can read (ADR 0004).
create table rounds (
    id                 uuid primary key,
    kind               text not null,
    subject_person_id  uuid not null,
    enrolment_id       uuid not null,
    milestone          text not null,
    cohort_id          uuid not null,
    programme_id       uuid not null,
    unit_id            uuid not null,
    practices          text[] not null,
    groups             text[] not null,
    instrument_version int not null,
    k                  int not null check (k >= 5),
    state              text not null default 'open' check (state in ('open', 'released', 'withheld')),
    reason             text,                       -- why it was withheld
    bucket             text not null default '0',  -- as last announced
    opened_at          timestamptz not null,
    closes_at          timestamptz not null,
    closed_on          date,
    public_key         bytea check (octet_length(public_key) = 32), -- null: it never opened
    wrapped_key        bytea,
    caused_by          uuid not null unique,
    caused_sequence    bigint not null,
    check ((state = 'open') = (wrapped_key is not null)),
    check ((state = 'open') = (closed_on is null)),
    check ((state = 'withheld') = (reason is not null)),
    check (state = 'withheld' or public_key is not null)
);
create index rounds_of_subject on rounds (subject_person_id, id);
-- A milestone has one round: it may have another only after that one was withheld.
create unique index rounds_one_per_milestone on rounds (enrolment_id, milestone) where state <> 'withheld';

-- A milestone undone or (milestone = '') an enrolment withdrawn, by the enrolment's sequence: what was reached before it
-- opens no round, in whatever order the events come.
create table endings (
    enrolment_id uuid not null,
    milestone    text not null,
    sequence     bigint not null,
    primary key (enrolment_id, milestone)
);

-- A respondent's single-use right to answer. No time stands here, so none can be compared with a ballot's; whom it was
-- for, and whether it was used, is forgotten when the round closes.
create table invitations (
    id               uuid primary key,
    round_id         uuid not null references rounds,
    respondent_id    uuid,
    respondent_group text not null,
    token_hash       bytea not null unique check (octet_length(token_hash) = 32),
    state            text not null default 'issued'
                     check (state in ('issued', 'used', 'declined', 'expired', 'revoked')),
    check (state <> 'issued' or respondent_id is not null)
);
create index invitations_of_round on invitations (round_id);
create index invitations_waiting on invitations (respondent_id) where state = 'issued';

-- Answers on their way: random ids, no time, all of one size, readable by nobody until the round closes.
create table ballots (
    id       uuid primary key,
    round_id uuid not null references rounds,
    sealed   bytea not null check (octet_length(sealed) = 2096)
);
alter table ballots alter column sealed set storage external;
create index ballots_of_round on ballots (round_id);

-- What was said, cut apart by practice and shuffled at closing: nothing here leads to a person or to another row. Only
-- what went into a figure that is shown is kept.
create table answers (
    id               uuid primary key,
    round_id         uuid not null references rounds,
    respondent_group text not null,
    practice         text not null,
    ratings          jsonb not null,
    closed_on        date not null
);
create index answers_of_round on answers (round_id);

-- The report of a round, written once at closing. A hidden figure is not stored.
create table cells (
    round_id         uuid not null references rounds,
    practice         text not null,
    respondent_group text not null,
    state            text not null check (state in ('released', 'suppressed')),
    n                int,
    mean             numeric(2, 1),
    low              numeric(2, 1),
    high             numeric(2, 1),
    at_limit         text check (at_limit in ('floor', 'ceiling')),
    primary key (round_id, practice, respondent_group),
    check (state = 'released' or num_nonnulls(n, mean, low, high, at_limit) = 0),
    check (state = 'suppressed' or num_nulls(n, mean) = 0)
);

-- migrate:down
drop table cells, answers, ballots, invitations, endings, rounds;
