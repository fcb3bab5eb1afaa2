-- migrate:up

-- 0.1.0 took any sequence. An ending that nobody announced, above a million (ADR 0003), would keep every milestone that is
-- reached after it from opening a round; a round that stands for such a reaching could not be taken back.
delete from endings where sequence > 1000000;
update rounds set caused_sequence = 1 where caused_sequence > 1000000;

-- migrate:down
select 1;
