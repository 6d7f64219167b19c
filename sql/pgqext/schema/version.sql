-- Version of this schema.
create or replace function pgq_ext.version()
returns text
language sql stable
as $$
    select '3.1'::text;
$$;

-- Brings the tables of version 3.0, which knew no subconsumers, to this one.
-- Returns the number of changes: one for a table's column and key, one for the
-- default of the column. Source: contract/pgq.md 1.5, the upstream test test_upgrade.
create or replace function pgq_ext.upgrade_schema()
returns int4
language plpgsql
as $$
declare
    _table    record;
    _changes  int4 := 0;
begin
    for _table in
        select t.name, k.conname as key_name, a.attname is not null as has_column, a.atthasdef as has_default,
               coalesce(a.attnum = any (k.conkey), false) as in_key,
               'consumer_id, subconsumer_id' || t.more as key_columns
          from (values ('completed_tick', ''), ('completed_batch', ''),
                       ('completed_event', ', batch_id, event_id'), ('partial_batch', '')) t (name, more)
          join pg_catalog.pg_class c on c.relname = t.name and c.relnamespace = 'pgq_ext'::regnamespace
          left join pg_catalog.pg_constraint k on k.conrelid = c.oid and k.contype = 'p'
          left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = 'subconsumer_id' and not a.attisdropped
    loop
        if not _table.in_key then
            if not _table.has_column then
                execute format('alter table pgq_ext.%I add column subconsumer_id text not null default ''''', _table.name);
            end if;
            if _table.key_name is not null then
                execute format('alter table pgq_ext.%I drop constraint %I', _table.name, _table.key_name);
            end if;
            execute format('alter table pgq_ext.%I add constraint %I primary key (%s)',
                           _table.name, _table.name || '_pkey', _table.key_columns);
            _changes := _changes + 1;
        end if;
        if not coalesce(_table.has_default, false) then
            execute format('alter table pgq_ext.%I alter column subconsumer_id set default ''''', _table.name);
            _changes := _changes + 1;
        end if;
    end loop;
    return _changes;
end;
$$;

do $do$
begin
    perform pgq_ext.upgrade_schema();
end;
$do$;
