create schema if not exists skytools;

-- What was last applied to each managed object of this database. It is also the
-- proof of ownership: nothing is dropped that is not listed here.
create table if not exists skytools.applied (
    address     text        primary key,           -- kind/name@database, as the YAML calls the database
    cluster     text        not null,              -- the owner
    spec        jsonb       not null,              -- the settings, by path
    digest      text        not null,              -- of the plan
    at          timestamptz not null default now(),
    by          text        not null,              -- user@host of whoever applied
    revision    text        not null default '',   -- of the YAML, such as a commit
    plan        text        not null default ''    -- short digest of the plan
);

grant usage on schema skytools to public;
grant select on skytools.applied to public;
