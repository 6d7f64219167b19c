-- Foreign keys are taken off before a table is copied and put back when both of its tables
-- are in sync. Definitions name every table with its schema, whatever the session's
-- search_path is: the functions that read them pin it. Source: contract/londiste.md 1.8, 5.3.

-- The foreign keys from and to a table. Clones on partitions are left out: they come and go
-- with their parent.
create or replace function londiste.find_table_fkeys(i_table_name text)
returns setof londiste.pending_fkeys
language sql
stable
strict
set search_path = pg_catalog, pg_temp
as $$
    select fn.nspname || '.' || f.relname,
           tn.nspname || '.' || t.relname,
           c.conname::text,
           'alter table ' || case when f.relkind = 'p' then '' else 'only ' end
               || quote_ident(fn.nspname) || '.' || quote_ident(f.relname)
               || ' add constraint ' || quote_ident(c.conname) || ' ' || pg_get_constraintdef(c.oid)
      from pg_constraint c
      join pg_class f on f.oid = c.conrelid
      join pg_namespace fn on fn.oid = f.relnamespace
      join pg_class t on t.oid = c.confrelid
      join pg_namespace tn on tn.oid = t.relnamespace
     where c.contype = 'f'
       and c.conparentid = 0
       and londiste.find_table_oid(i_table_name) in (c.conrelid, c.confrelid)
     order by 1, 2, 3;
$$;

-- Takes a foreign key off and remembers it. A key of that name remembered earlier is
-- replaced: it cannot be put back any more. Returns 1; 0 without such a key. Another
-- session may take the same key off meanwhile, which is as good.
create or replace function londiste.drop_table_fkey(i_from_table text, i_fkey_name text)
returns integer
language plpgsql
strict
as $$
declare
    v_key londiste.pending_fkeys;
begin
    select f.* into v_key
      from londiste.find_table_fkeys(i_from_table) f
     where f.from_table = i_from_table
       and f.fkey_name = i_fkey_name;
    if not found then
        return 0;
    end if;

    insert into londiste.pending_fkeys (from_table, to_table, fkey_name, fkey_def)
    values (v_key.from_table, v_key.to_table, v_key.fkey_name, v_key.fkey_def)
    on conflict (from_table, fkey_name) do update
       set to_table = excluded.to_table,
           fkey_def = excluded.fkey_def;

    execute format('alter table %s drop constraint if exists %I',
        londiste._only(i_from_table), i_fkey_name);
    return 1;
end;
$$;

-- A table as ALTER TABLE ADD/DROP CONSTRAINT wants it: a partitioned one without ONLY.
create or replace function londiste._only(i_table text)
returns text
language sql
stable
strict
as $$
    select case when londiste.find_rel_oid(i_table, 'p') is null then 'only ' else '' end
           || londiste.quote_fqname(i_table);
$$;

-- The foreign keys that wait from or to a table.
create or replace function londiste.get_table_pending_fkeys(i_table_name text)
returns setof londiste.pending_fkeys
language sql
stable
strict
as $$
    select f.*
      from londiste.pending_fkeys f
     where i_table_name in (f.from_table, f.to_table)
     order by f.from_table, f.to_table, f.fkey_name;
$$;

-- The foreign keys that this queue's worker should put back now: all local copies of both
-- tables, of any queue, are in sync, and of the queues that feed them this one is chosen:
-- the first part of a combined root, else the first combined branch, else the first queue.
create or replace function londiste.get_valid_pending_fkeys(i_queue_name text)
returns setof londiste.pending_fkeys
language sql
stable
strict
as $$
    with copy as (
        select coalesce(t.dest_table, t.table_name) as dest,
               t.queue_name,
               coalesce(t.merge_state = 'ok' and t.custom_snapshot is null, false) as in_sync,
               c.node_type as combined_type,
               c.queue_name as combined_queue
          from londiste.table_info t
          join pgq_node.node_info n on n.queue_name = t.queue_name
          left join pgq_node.node_info c on c.queue_name = n.combined_queue
         where t.local
    )
    select f.*
      from londiste.pending_fkeys f
     where exists (select 1 from copy where copy.dest = f.from_table)
       and exists (select 1 from copy where copy.dest = f.to_table)
       and not exists (
            select 1
              from copy
             where copy.dest in (f.from_table, f.to_table)
               and not copy.in_sync)
       and exists (
            select 1
              from copy
             where copy.dest in (f.from_table, f.to_table)
               and copy.queue_name = i_queue_name)
       and i_queue_name = (
            select coalesce(
                    min(copy.queue_name) filter (where copy.combined_type = 'root'),
                    min(copy.combined_queue) filter (where copy.combined_type = 'branch'),
                    min(copy.queue_name))
              from copy
             where copy.dest in (f.from_table, f.to_table))
     order by f.from_table, f.to_table, f.fkey_name;
$$;

-- Puts a foreign key back. Returns the next statement for the caller to run and commit
-- before he calls again, or '' when there is nothing left to do. Not lazily it is one step,
-- done here. Lazily it is: add it NOT VALID, validate it, forget it. A key that was NOT VALID
-- (or NOT ENFORCED) when it was taken off stays so.
--
-- Runs with the caller's search_path: definitions that older versions stored may need it.
create or replace function londiste.restore_table_fkey(
    i_from_table text,
    i_fkey_name text,
    i_lazy boolean default false)
returns text
language plpgsql
strict
as $$
declare
    v_def text;
    v_unchecked boolean;    -- by its own definition
    v_valid boolean;        -- in the table; NULL when it is not there
begin
    select f.fkey_def into v_def
      from londiste.pending_fkeys f
     where f.from_table = i_from_table
       and f.fkey_name = i_fkey_name
       for update;
    if not found then
        return '';
    end if;

    if not i_lazy then
        execute v_def;
        delete from londiste.pending_fkeys
         where from_table = i_from_table
           and fkey_name = i_fkey_name;
        return '';
    end if;

    v_unchecked := v_def ~* '\y(not valid|not enforced)\s*$';

    select c.convalidated into v_valid
      from pg_catalog.pg_constraint c
     where c.conrelid = londiste.find_table_oid(i_from_table)
       and c.conname = i_fkey_name
       and c.contype = 'f';
    if not found then
        -- Before PostgreSQL 18 a partitioned table takes only valid ones.
        if v_unchecked or londiste.find_rel_oid(i_from_table, 'p') is not null then
            return v_def;
        end if;
        return v_def || ' not valid';
    end if;
    if not v_valid and not v_unchecked then
        return format('alter table %s validate constraint %I', londiste._only(i_from_table), i_fkey_name);
    end if;

    delete from londiste.pending_fkeys
     where from_table = i_from_table
       and fkey_name = i_fkey_name;
    return '';
end;
$$;
