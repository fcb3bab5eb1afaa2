-- migrate:up

-- When this database came into being, by its own clock: a handler that begins "now" in a service that has read nothing yet
-- begins here, so that what was told before its first worker was up is not passed over.
create table handlers_since (
    only_row boolean primary key default true check (only_row),
    at       timestamptz not null default clock_timestamp()
);
insert into handlers_since default values;

-- Every handler and event type that a worker here has ever had (ADR 0009).
create table handler_pairs (
    consumer  text not null,
    handler   text not null,
    type      text not null,
    met_at    timestamptz not null default clock_timestamp(),
    begins_at timestamptz,              -- records of an earlier time are not its business; null: it begins at the beginning
    primary key (consumer, handler, type)
);

-- Which of them a version of the service has: workers that have the same ones are of one generation.
create table handler_generations (
    consumer   text not null,
    generation text not null,           -- '0.1': workers of 0.1.x, which know of no generations
    handler    text not null,
    type       text not null,
    primary key (consumer, generation, handler, type)
);

-- Below this everything is handled, or noted in `handler_catch_up`, for all that the generation has.
create table handler_offsets (
    consumer    text not null,
    generation  text not null,
    epoch       uuid not null,
    topic       text not null,
    partition   int not null,
    next_offset bigint not null,
    primary key (consumer, generation, epoch, topic, partition)
);

-- What a handler still has to be given of what lies behind `inbox_offsets`: offsets from `next_offset` to below
-- `until_offset`. Done when they meet.
create table handler_catch_up (
    consumer     text not null,
    handler      text not null,
    type         text not null,
    epoch        uuid not null,
    topic        text not null,
    partition    int not null,
    next_offset  bigint not null,
    until_offset bigint not null,
    again        boolean not null default false,    -- a replay: what it has had, it is given again
    ticket       uuid not null default gen_random_uuid(), -- another one whenever the range is set anew
    primary key (consumer, handler, type, epoch, topic, partition)
);
create index handler_catch_up_open on handler_catch_up (consumer) where next_offset < until_offset;

-- How far each handler and type has come in each partition that its service has read: what its generations have handled.
-- What lies between that and `next_offset` was handled by workers that did not have it. (Ask for a type's own topic only.)
-- 0.1.x leaves no trace but `inbox_offsets`; what it had, it has handled beyond all that others were seen to handle.
create view handler_reached as
select o.consumer, g.handler, g.type, o.epoch, o.topic, o.partition, o.next_offset,
       case when bool_or(g.generation = '0.1') and coalesce(max(h.next_offset), 0) >= seen.by_all then o.next_offset
            else coalesce(max(h.next_offset), 0) end as reached
from inbox_offsets o
join handler_generations g on g.consumer = o.consumer
left join handler_offsets h on h.consumer = o.consumer and h.generation = g.generation and h.epoch = o.epoch
    and h.topic = o.topic and h.partition = o.partition
cross join lateral (
    select coalesce(max(a.next_offset), 0) as by_all from handler_offsets a
    where a.consumer = o.consumer and a.epoch = o.epoch and a.topic = o.topic and a.partition = o.partition
) seen
group by o.consumer, g.handler, g.type, o.epoch, o.topic, o.partition, o.next_offset, seen.by_all;

-- migrate:down
drop view handler_reached;
drop table handler_catch_up, handler_offsets, handler_generations, handler_pairs, handlers_since;
