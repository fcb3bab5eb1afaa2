-- migrate:up

-- What this service knows of people, units and roles, from the compacted topics. Topics are not ordered among each other,
-- so nothing here refers to another table; and since a login can move from one person to another in two records, it is
-- not unique here either: while two hold it, neither gets in.
create table people (
    id          uuid primary key,
    login       text,
    given_name  text not null,
    family_name text not null,
    email       text,
    title       text,
    unit_id     uuid not null,
    manager_id  uuid,
    status      text not null,
    locale      text not null,
    time_zone   text not null
);
create index people_by_login on people (login);
create index people_by_manager on people (manager_id);
create index people_by_unit on people (unit_id);

create table units (
    id          uuid primary key,
    name        text not null,
    parent_id   uuid,
    merged_into uuid
);
create index units_by_parent on units (parent_id);

create table access (
    principal  text primary key,
    kind       text not null,
    person_id  uuid,
    name       text not null,
    token_hash bytea,
    roles      jsonb not null,
    expires_at timestamptz
);
create index access_by_person on access (person_id);
create index access_by_token on access (token_hash);

-- migrate:down
drop table access, units, people;
