-- The version of this schema. It answers the same however the schema was installed.
-- Source: contract/pgq.md 5.
create or replace function pgq_node.version()
returns text
language sql
stable
as $$
    select '3.6'::text;
$$;

-- Brings the tables of an older installation up to date; returns the number of changes.
-- Roles are not made here. Source: contract/pgq.md 5.
create or replace function pgq_node.upgrade_schema()
returns integer
language plpgsql
as $$
declare
    v_changes integer := 0;
begin
    if not exists (
        select 1
          from pg_catalog.pg_attribute
         where attrelid = 'pgq_node.node_info'::regclass
           and attname = 'node_attrs'
           and not attisdropped)
    then
        alter table pgq_node.node_info add column node_attrs text;
        v_changes := v_changes + 1;
    end if;
    return v_changes;
end;
$$;

-- Functions of installations before 3.5 answer without target_for, and "create or
-- replace" cannot add an OUT column. Source: contract/pgq.md 10.2.
do $do$
begin
    perform pgq_node.upgrade_schema();

    if exists (
        select 1
          from pg_catalog.pg_proc p
          join pg_catalog.pg_namespace n on n.oid = p.pronamespace
         where n.nspname = 'pgq_node'
           and p.proname = 'get_node_info'
           and not 'target_for' = any (p.proargnames))
    then
        drop function pgq_node.get_node_info(text);
    end if;
end;
$do$;
