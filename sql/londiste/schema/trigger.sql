-- The triggers that publish a table's changes, or on a leaf refuse them.
-- Source: contract/londiste.md 0.6, 1.6.

-- Whether a trigger function publishes changes: one of PgQ's, one that PgQ generated for a
-- table, or the one below.
create or replace function londiste.is_replica_func(func_oid oid)
returns boolean
language sql
stable
strict
as $$
    select exists (
        select 1
          from pg_catalog.pg_proc p
          join pg_catalog.pg_namespace n on n.oid = p.pronamespace
         where p.oid = func_oid
           and (n.nspname = 'pgq'
                and (p.proname in ('sqltriga', 'logutriga', 'jsontriga') or p.proname like '\_capture\_%')
             or n.nspname = 'londiste' and p.proname = 'truncate_trigger'));
$$;

-- The arguments of a trigger. pg_trigger.tgargs ends each one by a zero byte.
create or replace function londiste._trigger_args(i_tgargs bytea)
returns text[]
language sql
immutable
strict
as $$
    select coalesce(array_agg(
               convert_from(decode(replace(a.hex, ' ', ''), 'hex'), getdatabaseencoding())
               order by a.nr), '{}')
      from string_to_array(regexp_replace(encode(i_tgargs, 'hex'), '(..)', '\1 ', 'g'), '00 ') parts,
           unnest(parts) with ordinality a (hex, nr)
     where a.nr < cardinality(parts);
$$;

-- What londiste.create_trigger is asked for, apart from arguments of the trigger itself.
--   flags     letters of tgflags=
--   skip      the row must not be stored
--   created   false when no trigger is wanted
--   args      arguments for the trigger, in order
create or replace function londiste._trigger_options(
    i_trg_args text[],
    out flags text,
    out skip boolean,
    out created boolean,
    out args text[])
returns record
language sql
immutable
as $$
    select coalesce(string_agg(upper(substr(a.arg, 9)), '' order by a.nr) filter (where a.arg like 'tgflags=%'), ''),
           coalesce(bool_or(a.arg in ('skip', 'SKIP') or a.arg ~* '^tgflags=.*S'), false),
           coalesce(not bool_or(a.arg in ('no_triggers', 'virtual_table')), true),
           coalesce(array_agg(a.arg order by a.nr) filter (
               where a.arg not like 'tgflags=%'
                 and a.arg not in ('skip', 'SKIP', 'no_triggers', 'virtual_table',
                                   'expect_sync', 'skip_truncate', 'merge_all', 'no_merge')), '{}')
      from unnest(i_trg_args) with ordinality a (arg, nr);
$$;

-- The queue's trigger name. Where the longest name derived from it would not fit into an
-- identifier, a digest stands for the queue.
create or replace function londiste._trigger_name(i_queue_name text)
returns text
language sql
immutable
strict
as $$
    select '_londiste_' || case
        when octet_length(i_queue_name) + octet_length('_londiste__truncate') < 64 then i_queue_name
        else md5(i_queue_name)
        end;
$$;

-- Triggers of a table that publish to a queue.
create or replace function londiste._queue_triggers(
    i_queue_name text,
    i_table oid,
    out trigger_name text,
    out generated boolean)
returns setof record
language sql
stable
strict
as $$
    select t.tgname::text, p.proname like '\_capture\_%'
      from pg_catalog.pg_trigger t
      join pg_catalog.pg_proc p on p.oid = t.tgfoid
     where t.tgrelid = i_table
       and not t.tgisinternal
       and t.tgparentid = 0     -- a clone on a partition goes with its parent
       and londiste.is_replica_func(t.tgfoid)
       and (londiste._trigger_args(t.tgargs))[1] = i_queue_name
     order by 1;
$$;

-- Publishes the TRUNCATE of a table under its global name: PgQ's own triggers report the
-- real one, which nobody downstream replicates, and its generated ones in JSON, which ends
-- the original's workers. Arguments: queue, global name. Runs as the owner, as generated
-- functions do, so that those who empty the table need no right to the queue.
-- Source: contract/londiste.md 0.5, defect 8.1/8.
create or replace function londiste.truncate_trigger()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('session_replication_role') <> 'local' then
        perform pgq.insert_event(tg_argv[0], 'R', '', tg_argv[1], null, null, null);
    end if;
    return null;
end;
$$;

-- Makes one trigger as wanted, unless it is so already: a trigger that is touched locks its
-- table. i_type is as in pg_trigger.tgtype: 1 row, 2 before, 4 insert, 8 delete, 16 update,
-- 32 truncate. Returns whether it was made.
create or replace function londiste._make_trigger(
    i_table text,
    i_trigger text,
    i_type integer,
    i_function text,
    i_args text[])
returns boolean
language plpgsql
as $$
declare
    v_rel oid := londiste.find_table_oid(i_table);
    v_same boolean;
begin
    select t.tgfoid = (i_function || '()')::regprocedure
       and t.tgtype = i_type
       and t.tgenabled in ('O', 'A')
       and t.tgqual is null
       and t.tgattr::text = ''
       and londiste._trigger_args(t.tgargs) = i_args
      into v_same
      from pg_catalog.pg_trigger t
     where t.tgrelid = v_rel
       and t.tgname = i_trigger::name
       and not t.tgisinternal;
    if v_same then
        return false;
    end if;
    if found then
        execute format('drop trigger %I on %s', i_trigger, londiste.quote_fqname(i_table));
    end if;

    execute format('create trigger %I %s %s on %s for each %s execute function %s(%s)',
        i_trigger,
        case when i_type & 2 > 0 then 'before' else 'after' end,
        concat_ws(' or ',
            case when i_type & 4 > 0 then 'insert' end,
            case when i_type & 16 > 0 then 'update' end,
            case when i_type & 8 > 0 then 'delete' end,
            case when i_type & 32 > 0 then 'truncate' end),
        londiste.quote_fqname(i_table),
        case when i_type & 1 > 0 then 'row' else 'statement' end,
        i_function,
        (select string_agg(quote_literal(a.arg), ', ' order by a.nr)
           from unnest(i_args) with ordinality a (arg, nr)));
    return true;
end;
$$;

-- Makes the triggers of a table: the generated ones of PgQ where it has them and nothing
-- special was asked for, otherwise the generic ones. Triggers that are as wanted stay
-- untouched, so that registering again takes no lock.
-- Codes: 200; 201 none wanted; 403 a SKIP trigger and an AFTER trigger exclude each other;
-- 404 no such table; 405 several SKIP triggers. Source: contract/londiste.md 1.6.
create or replace function londiste.create_trigger(
    i_queue_name text,
    i_table_name text,
    i_trg_args text[],
    i_dest_table text,
    i_node_type text,
    out ret_code integer,
    out ret_note text,
    out trigger_name text)
returns record
language plpgsql
as $$
declare
    v_name text := londiste.make_fqname(i_table_name);
    v_dest text := londiste.make_fqname(coalesce(i_dest_table, i_table_name));
    v_rel oid := londiste.find_table_oid(v_dest);
    v_base text := londiste._trigger_name(i_queue_name);
    v_opt record;
    v_names text[] := array[v_base, 'zzz_' || v_base, v_base || '_truncate'];
    v_args text[];
    v_events integer;
    v_before boolean;
    v_global boolean;       -- the global name must be told
    v_skips text[];
begin
    select * into v_opt from londiste._trigger_options(i_trg_args);
    if not v_opt.created
        or i_node_type = 'leaf' and to_regprocedure('pgq.sqltriga()') is null
    then
        ret_code := 201;
        ret_note := 'Trigger not created';
        return;
    end if;
    if v_rel is null then
        ret_code := 404;
        ret_note := 'Table does not exist: ' || v_dest;
        return;
    end if;

    v_args := v_opt.args;
    v_events := case when v_opt.flags ~ 'I' then 4 else 0 end
              + case when v_opt.flags ~ 'D' then 8 else 0 end
              + case when v_opt.flags ~ 'U' then 16 else 0 end;
    if v_events = 0 then
        v_events := 28;
    end if;
    v_before := v_opt.flags ~ 'B' and v_opt.flags !~ 'A';

    -- Triggers of a partitioned table fire on its partitions and would report those.
    v_global := v_dest <> v_name or londiste.find_rel_oid(v_dest, 'p') is not null;
    if v_global and not exists (select 1 from unnest(v_args) a where a like 'ev\_extra1=%') then
        v_args := v_args || ('ev_extra1=' || quote_literal(v_name));
    end if;
    if i_node_type = 'leaf' then
        v_args := v_args || 'deny'::text;
    end if;

    -- Names of the SKIP triggers that others made.
    select coalesce(array_agg(t.tgname::text order by t.tgname), '{}') into v_skips
      from pg_catalog.pg_trigger t
     where t.tgrelid = v_rel
       and not t.tgisinternal
       and londiste.is_replica_func(t.tgfoid)
       and 'SKIP' = any (londiste._trigger_args(t.tgargs))
       and t.tgname::text not in (v_base, 'zzz_' || v_base);
    if v_opt.skip and cardinality(v_skips) > 1 then
        ret_code := 405;
        ret_note := 'Multiple SKIP triggers in table: ' || v_dest;
        return;
    end if;
    if not v_before and (v_opt.skip or cardinality(v_skips) > 0) then
        ret_code := 403;
        ret_note := 'AFTER trigger cannot work with SKIP trigger(s)';
        return;
    end if;

    ret_code := 200;
    ret_note := 'OK';
    if i_node_type is distinct from 'leaf'
        and v_opt.flags !~ '[QLJB]' and not v_opt.skip and v_events = 28
        and to_regprocedure('pgq.create_capture(text,text,text,text[])') is not null
    then
        trigger_name := v_base;
        perform londiste._drop_triggers(i_queue_name, v_dest, array['zzz_' || v_base], false);
        if not londiste._is_captured(i_queue_name, v_dest, v_base, v_args) then
            perform pgq.create_capture(i_queue_name, v_dest, v_base, v_args);
        end if;
        perform londiste._make_trigger(
            v_dest, v_base || '_truncate', 32, 'londiste.truncate_trigger', array[i_queue_name, v_name]);
        return;
    end if;

    trigger_name := v_base;
    if v_opt.skip and cardinality(v_skips) = 0 then
        trigger_name := 'zzz_' || v_base;
        v_args := v_args || 'SKIP'::text;
    elsif v_opt.skip and v_skips[1] not like 'zzz\_%' then
        execute format('alter trigger %I on %s rename to %I',
            v_skips[1], londiste.quote_fqname(v_dest), 'zzz_' || v_skips[1]);
    end if;

    perform londiste._drop_triggers(i_queue_name, v_dest, v_names, true);
    perform londiste._drop_triggers(
        i_queue_name, v_dest, array[case when trigger_name = v_base then 'zzz_' || v_base else v_base end], false);

    perform londiste._make_trigger(
        v_dest, trigger_name, 1 + case when v_before then 2 else 0 end + v_events,
        case when v_opt.flags ~ 'J' then 'pgq.jsontriga'
             when v_opt.flags ~ 'Q' and v_opt.flags !~ 'L' then 'pgq.sqltriga'
             else 'pgq.logutriga' end,
        i_queue_name || v_args);

    if i_node_type = 'leaf' then
        perform londiste._make_trigger(
            v_dest, v_base || '_truncate', 32, 'pgq.sqltriga', array[i_queue_name, 'deny']);
    elsif v_dest <> v_name then
        perform londiste._make_trigger(
            v_dest, v_base || '_truncate', 32, 'londiste.truncate_trigger', array[i_queue_name, v_name]);
    else
        perform londiste._make_trigger(
            v_dest, v_base || '_truncate', 32, 'pgq.sqltriga', array[i_queue_name]);
    end if;
end;
$$;

-- Whether a table's triggers are what pgq.create_capture would make of it now. That cannot
-- be left to create_capture: it would put back its own trigger for TRUNCATE.
create or replace function londiste._is_captured(
    i_queue_name text,
    i_dest_table text,
    i_trigger text,
    i_args text[])
returns boolean
language plpgsql
stable
as $$
begin
    return not exists (
        select 1
          from pgq._capture_triggers(i_queue_name, i_dest_table, i_trigger, i_args) c
         where c.fires <> 32
           and not exists (
                select 1
                  from pg_catalog.pg_trigger t
                  join pg_catalog.pg_proc p on p.oid = t.tgfoid
                 where t.tgrelid = londiste.find_table_oid(i_dest_table)
                   and t.tgname = c.name
                   and t.tgtype = c.fires
                   and t.tgenabled in ('O', 'A')
                   and (t.tgqual is null) = (c.condition is null)
                   and t.tgattr::text = ''
                   and londiste._trigger_args(t.tgargs) = i_queue_name || i_args
                   and p.prosrc = pgq.capture_source(i_queue_name, i_dest_table, i_args)));
end;
$$;

-- Drops those of the named triggers that are generated, or those that are not: what stands in the
-- way when a table changes from one to the other.
create or replace function londiste._drop_triggers(
    i_queue_name text,
    i_dest_table text,
    i_names text[],
    i_generated boolean)
returns void
language plpgsql
as $$
declare
    v_trigger text;
begin
    for v_trigger in
        select t.trigger_name
          from londiste._queue_triggers(i_queue_name, londiste.find_table_oid(i_dest_table)) t
         where t.generated = i_generated
           and t.trigger_name = any (i_names)
    loop
        if i_generated and to_regprocedure('pgq.drop_capture(text,text)') is not null then
            perform pgq.drop_capture(i_queue_name, i_dest_table);
            return;
        end if;
        execute format('drop trigger %I on %s', v_trigger, londiste.quote_fqname(i_dest_table));
    end loop;
end;
$$;

-- Drops all triggers of a table that publish to the queue, whatever they are called and
-- whoever made them. Source: contract/londiste.md 1.6.
create or replace function londiste.drop_table_triggers(i_queue_name text, i_table_name text)
returns void
language plpgsql
strict
as $$
declare
    v_dest text;
    v_rel oid;
    v_trigger record;
begin
    select coalesce(t.dest_table, t.table_name) into v_dest
      from londiste.table_info t
     where t.queue_name = i_queue_name
       and t.table_name = i_table_name;
    v_dest := coalesce(v_dest, londiste.make_fqname(i_table_name));
    v_rel := londiste.find_table_oid(v_dest);

    if to_regprocedure('pgq.drop_capture(text,text)') is not null
        and exists (select 1 from londiste._queue_triggers(i_queue_name, v_rel) t where t.generated)
    then
        perform pgq.drop_capture(i_queue_name, v_dest);
    end if;

    for v_trigger in
        select * from londiste._queue_triggers(i_queue_name, v_rel)
    loop
        execute format('drop trigger %I on %s', v_trigger.trigger_name, londiste.quote_fqname(v_dest));
    end loop;
end;
$$;

-- A row of table_info takes the triggers of its table along, also when the whole node goes.
create or replace function londiste.table_info_trigger()
returns trigger
language plpgsql
as $$
begin
    if tg_op = 'DELETE' then
        perform londiste.drop_table_triggers(old.queue_name, old.table_name);
    end if;
    return old;
end;
$$;
