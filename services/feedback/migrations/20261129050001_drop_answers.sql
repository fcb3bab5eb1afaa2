-- migrate:up

-- No code read what people had rated: a report stands in `cells`. Self and manager stood here in clear. Dropping the
-- table removes its file, and with it also what deleted rows had left in it.
drop table answers;

-- A withheld round shows nothing, so nothing of it is kept. Truncating gives the table a new file: no old row lies in it.
create temporary table shown on commit drop as
    select c.* from cells c join rounds r on r.id = c.round_id where r.state = 'released';
truncate cells;
insert into cells select * from shown;

-- migrate:down
create table answers (
    id               uuid primary key,
    round_id         uuid not null references rounds,
    respondent_group text not null,
    practice         text not null,
    ratings          jsonb not null,
    closed_on        date not null
);
create index answers_of_round on answers (round_id);
