-- One row for each attempt at a step. The row is written before the step begins,
-- and completed in the step's own transaction: a row without an outcome belongs to
-- a step that was interrupted, or that is running now.
create table if not exists skytools.step_log (
    id          bigint      generated always as identity primary key,
    plan        text        not null,              -- digest
    step        text        not null,              -- s1, s2, ...
    address     text        not null,
    title       text        not null,
    by          text        not null,
    started     timestamptz not null default clock_timestamp(),
    finished    timestamptz,
    outcome     text,                              -- done, already, failed, stale; null: no outcome yet
    error       text
);

create index if not exists step_log_plan_idx on skytools.step_log (plan, step);
create index if not exists step_log_address_idx on skytools.step_log (address, id);

grant select on skytools.step_log to public;
