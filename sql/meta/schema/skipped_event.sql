-- Events that somebody had replay leave out, because they could not be applied: the last
-- resort, with who and why. The worker fills in when it has left one out.
create table if not exists skytools.skipped_event (
    queue_name  text        not null,
    event_id    bigint      not null,
    table_name  text        not null,              -- that the event is about
    consumer    text        not null,              -- that could not apply it
    because     text        not null,
    by          text        not null,              -- user@host of whoever decided
    at          timestamptz not null default now(),
    error       text        not null,              -- that the event caused
    event       jsonb       not null,              -- what it says
    skipped     timestamptz,                       -- when it was left out; null: not yet
    tick        bigint,                            -- the end of the batch that had it
    primary key (queue_name, event_id, consumer)
);

grant select on skytools.skipped_event to public;

do $$
begin
    if exists (select 1 from pg_catalog.pg_roles where rolname = 'pgq_admin') then
        grant update (skipped, tick) on skytools.skipped_event to pgq_admin;
    end if;
end
$$;
