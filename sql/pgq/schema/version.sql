-- Version of this schema. Clients compare the first character with '3', so it
-- must never be null and never begin with a lower one. Source: contract/pgq.md 0.4.
create or replace function pgq.version()
returns text
language sql stable
as $$
    select '3.6'::text;
$$;

-- Number of changes that an older schema needs to become this one: always 0, for
-- installing the schema already makes them. Source: contract/pgq.md 2.1.
create or replace function pgq.upgrade_schema()
returns int4
language plpgsql
as $$
begin
    return 0;
end;
$$;
