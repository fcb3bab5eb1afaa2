-- migrate:up

-- Whom a round asks. Nothing about answering stands here or leads from here to a link: the link's hash follows from `id` and
-- a secret that no database role can read (ADR 0004). Not written to when somebody answers, and gone when the round ends.
create table invited (
    id               uuid primary key,
    round_id         uuid not null references rounds,
    respondent_id    uuid,                              -- null once they have left
    respondent_group text not null,
    revoked          boolean not null default false     -- taken back; whether it had been used is not to be seen
);
create index invited_of_round on invited (round_id);
create index invited_respondents on invited (respondent_id);

-- The single-use right to answer, by whoever has the link, and what became of it. Nothing here names or leads to a person.
create table links (
    token_hash       bytea primary key check (octet_length(token_hash) = 32),
    round_id         uuid not null references rounds,
    respondent_group text not null,
    state            text not null default 'issued'
                     check (state in ('issued', 'used', 'declined', 'expired', 'revoked'))
);
create index links_of_round on links (round_id);

-- One person's link, taken back while the round goes on: under another hash of its token, so that taking it back touches no
-- row of `links`. That would tell whose link it is, and with it whether and when it had been used.
create table revocations (
    token_hash bytea primary key check (octet_length(token_hash) = 32),
    round_id   uuid not null references rounds
);
create index revocations_of_round on revocations (round_id);

-- In the order of the hashes, which is one of chance. What 0.1.0 wrote of these rounds (both in one row) stays in backups and
-- archived logs made before.
insert into links (token_hash, round_id, respondent_group, state)
select token_hash, round_id, respondent_group, state from invitations order by token_hash;
insert into invited (id, round_id, respondent_id, respondent_group, revoked)
select i.id, i.round_id, i.respondent_id, i.respondent_group, i.respondent_id is null
from invitations i join rounds r on r.id = i.round_id where r.state = 'open' order by i.id;
drop table invitations;

-- During a rolling upgrade processes of 0.1.0 go on asking for `invitations`. They are told "not now" (57P03), which they
-- take for a database that is away: they wait, and set nothing aside as at fault, until they are replaced.
create function not_for_0_1_0() returns trigger language plpgsql as $$
begin
    raise exception 'this database is newer than the process that asks' using errcode = '57P03';
end
$$;
create function nothing_for_0_1_0() returns boolean language plpgsql as $$
begin
    raise exception 'this database is newer than the process that asks' using errcode = '57P03';
end
$$;
create view invitations as
select id, round_id, respondent_id, respondent_group, null::bytea as token_hash, 'issued'::text as state
from invited where nothing_for_0_1_0();
create trigger not_for_0_1_0 instead of insert or update or delete on invitations
    for each row execute function not_for_0_1_0();

-- migrate:down
drop view invitations;
drop function not_for_0_1_0, nothing_for_0_1_0;
drop table revocations, links, invited;
