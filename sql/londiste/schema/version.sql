-- The version of this schema. It answers the same however the schema was installed; the
-- original's workers use lazy foreign keys from 3.7 on. Source: contract/londiste.md 1.3.
create or replace function londiste.version()
returns text
language sql
stable
as $$
    select '3.9'::text;
$$;

-- Brings the tables of an older installation up to date; returns the number of changes.
-- Roles are not made here. Source: contract/londiste.md 1.1, 1.12.
create or replace function londiste.upgrade_schema()
returns integer
language plpgsql
as $$
declare
    v_changes integer := 0;
begin
    if not londiste._has_column('londiste.table_info', 'dest_table') then
        alter table londiste.table_info add column dest_table text;
        v_changes := v_changes + 1;
    end if;

    if not londiste._has_column('londiste.applied_execute', 'execute_attrs') then
        alter table londiste.applied_execute add column execute_attrs text;
        v_changes := v_changes + 1;
    end if;

    if (select c.conkey::integer[] <> array[a.attnum::integer]
          from pg_catalog.pg_constraint c
          join pg_catalog.pg_attribute a
            on a.attrelid = c.conrelid and a.attname = 'execute_file'
         where c.conrelid = 'londiste.applied_execute'::regclass
           and c.contype = 'p')
    then
        alter table londiste.applied_execute
            drop constraint applied_execute_pkey,
            add constraint applied_execute_pkey primary key (execute_file);
        v_changes := v_changes + 1;
    end if;

    if not exists (
        select 1
          from pg_catalog.pg_constraint
         where conrelid = 'londiste.table_info'::regclass
           and conname = 'table_info_check'
           and pg_catalog.pg_get_constraintdef(oid) like '%in-copy%catching-up%')
    then
        alter table londiste.table_info drop constraint if exists table_info_check;
        alter table londiste.table_info add constraint table_info_check
            check (dropped_ddl is null or merge_state in ('in-copy', 'catching-up'));
        v_changes := v_changes + 1;
    end if;

    -- before delete for each row = 1 + 2 + 8; older ones are after delete.
    if not exists (
        select 1
          from pg_catalog.pg_trigger
         where tgrelid = 'londiste.table_info'::regclass
           and tgname = 'table_info_trigger_sync'
           and tgtype = 11)
    then
        drop trigger if exists table_info_trigger_sync on londiste.table_info;
        create trigger table_info_trigger_sync
            before delete on londiste.table_info
            for each row execute function londiste.table_info_trigger();
        v_changes := v_changes + 1;
    end if;

    return v_changes;
end;
$$;

create or replace function londiste._has_column(i_table regclass, i_column text)
returns boolean
language sql
stable
strict
as $$
    select exists (
        select 1
          from pg_catalog.pg_attribute
         where attrelid = i_table
           and attname = i_column
           and not attisdropped);
$$;

-- Does nothing, and returns 0; the maintenance calls it. The original deletes scripts
-- that ran more than three months ago, and then they could run again: on a node that
-- becomes the root, or when an old event comes once more.
-- Source: contract/londiste.md 1.3, 8 (21).
create or replace function londiste.periodic_maintenance()
returns integer
language sql
as $$
    select 0;
$$;
