-- Capturing tables: triggers that feed a queue.
--
-- The trigger's arguments are what was asked for; the function behind it is what
-- was made of that. Comparing the two tells whether the table changed since.

-- The arguments of a trigger, as the catalog keeps them: each ended by a zero byte.
create or replace function pgq._trigger_args(i_args bytea, i_count int4)
returns text[]
language sql stable
as $$
    select coalesce(array_agg(convert_from(decode(arg, 'hex'), getdatabaseencoding()) order by place), '{}')
      from unnest(string_to_array(regexp_replace(encode(i_args, 'hex'), '(..)', '\1 ', 'g'), '00 '))
           with ordinality a (arg, place)
     where place <= i_count;
$$;

-- Every trigger that feeds a queue, but those that partitions inherit.
create or replace function pgq._captures(
    out queue_name text, out table_name text, out trigger_name text, out args text[], out enabled text,
    out generated bool, out table_oid oid, out function_oid oid, out source text)
returns setof record
language sql stable
as $$
    select a.args[1], n.nspname || '.' || c.relname, t.tgname::text, a.args[2:],
           case t.tgenabled when 'O' then 'origin' when 'A' then 'always' when 'R' then 'replica' else 'disabled' end,
           p.proname ~ '^_capture_\d+_\d+$', c.oid, p.oid, p.prosrc
      from pg_catalog.pg_proc p
      join pg_catalog.pg_trigger t on t.tgfoid = p.oid
      join pg_catalog.pg_class c on c.oid = t.tgrelid
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     cross join lateral (select pgq._trigger_args(t.tgargs, t.tgnargs) as args) a
     where p.pronamespace = 'pgq'::regnamespace
       and (p.proname in ('logutriga', 'jsontriga', 'sqltriga', 'logtriga') or p.proname ~ '^_capture_\d+_\d+$')
       and not t.tgisinternal
       and t.tgparentid = 0;
$$;

-- What a generated function was made from: its own text, and the table's name,
-- columns and key. It is kept as the function's comment, so that a query over all
-- captured tables can tell which functions are out of date without generating
-- them anew; capture.sql beside the Go, and londiste's, compute the same.
create or replace function pgq._capture_mark(i_function oid, i_table oid)
returns text
language sql stable
as $$
    select 'capture ' || md5(p.prosrc) || ' ' || pgq._table_digest(i_table)
      from pg_catalog.pg_proc p
     where p.oid = i_function;
$$;

-- Says whether a generated function is what would be generated now. What cannot
-- be generated any more is not.
create or replace function pgq._is_current(i_queue_name text, i_table_name text, i_args text[], i_source text)
returns bool
language plpgsql stable
as $$
begin
    return coalesce(pgq.capture_source(i_queue_name, i_table_name, i_args) = i_source, false);
exception
    when others then
        return false;
end;
$$;

-- Every captured table, and whether its trigger does what its arguments say.
-- Generic functions look the table up themselves and are always current.
create or replace function pgq.get_capture_info(
    out queue_name text, out table_name text, out trigger_name text, out args text[], out enabled text,
    out generated bool, out is_current bool)
returns setof record
language sql stable
as $$
    select c.queue_name, c.table_name, c.trigger_name, c.args, c.enabled, c.generated,
           c.enabled in ('origin', 'always')
           and (not c.generated or pgq._is_current(c.queue_name, c.table_name, c.args, c.source))
      from pgq._captures() c
     order by c.queue_name, c.table_name, c.trigger_name;
$$;

-- Refuses options that a generated function cannot have, or that name what does
-- not exist: better now than when the table is written. Expressions are tried in
-- the search path that they will have.
create or replace function pgq._check_capture(i_table oid, i_args text[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _opt      record;
    _columns  text[];
    _name     text;
begin
    select * into _opt from pgq._read_options(array_remove(i_args, 'statement'));
    if _opt.do_skip then
        raise exception 'SKIP does not work in AFTER trigger.';
    end if;
    if 'statement' = any (i_args) then
        perform pgq._check_statement(i_table, _opt.do_deny);
    end if;
    select array_agg(col_name) into _columns from pgq._columns(i_table);
    foreach _name in array coalesce(_opt.ignored, '{}') || coalesce(_opt.keys, '{}') loop
        if not _name = any (_columns) then
            raise exception 'table % has no column "%"', i_table::regclass, _name
                  using errcode = 'undefined_column';
        end if;
    end loop;
    foreach _name in array _columns loop
        if starts_with(_name, '_pgq_ev_')
           and _name not in ('_pgq_ev_type', '_pgq_ev_data', '_pgq_ev_extra1', '_pgq_ev_extra2',
                             '_pgq_ev_extra3', '_pgq_ev_extra4') then
            raise exception 'Unknown magic column: %', _name;
        end if;
    end loop;
    foreach _name in array array_remove(_opt.ev_exprs, null) loop
        execute format('select (%s) from (select (null::%s).*) r where false',
                       pgq._qualify_columns(_name, _columns), i_table::regclass);
    end loop;
    if _opt.when_expr is not null then
        execute format('select from (select (null::%2$s).*) r where false and (%1$s)',
                       pgq._qualify_columns(_opt.when_expr, _columns), i_table::regclass);
    end if;
end;
$$;

-- Refuses triggers of statements where they would miss changes: those of a
-- partitioned table and of its partitions fire only for statements that name them.
create or replace function pgq._check_statement(i_table oid, i_deny bool)
returns void
language plpgsql
as $$
begin
    if i_deny then
        raise exception 'deny does not work in statement triggers.';
    end if;
    if exists (select 1 from pg_catalog.pg_class c where c.oid = i_table and c.relkind = 'p')
       or exists (select 1 from pg_catalog.pg_inherits i where i_table in (i.inhrelid, i.inhparent)) then
        raise exception 'table % is partitioned or inherits: triggers of its statements would miss changes', i_table::regclass
              using errcode = 'feature_not_supported', hint = 'Capture it row by row.';
    end if;
end;
$$;

-- The triggers of a capture: what each is called and what it fires for, in the
-- bits of pg_trigger.tgtype (1 row, 4 insert, 8 delete, 16 update, 32 truncate).
-- Where there is a condition the trigger fires only for rows for which it holds.
create or replace function pgq._capture_triggers(
    i_queue_name text, i_table_name text, i_trigger_name text, i_args text[],
    out name name, out fires int4, out condition text)
returns setof record
language plpgsql stable
as $$
declare
    _facts  record;
begin
    if not coalesce('statement' = any (i_args), false) then
        return query
            select pgq._trigger_name(i_trigger_name, t.suffix), t.fires, null::text
              from (values ('', 29), ('_truncate', 32)) t (suffix, fires);
        return;
    end if;
    select * into _facts from pgq._capture_facts(i_queue_name, i_table_name, i_args);
    return query
        select pgq._trigger_name(i_trigger_name, t.suffix), t.fires, t.condition
          from (values ('', 4, null), ('_update', 16, null), ('_delete', 8, null), ('_truncate', 32, null),
                       ('_key', 17, pgq._source_differ(_facts.key_names, _facts.key_bases, _facts.key_casts, 'new', 'old')))
               t (suffix, fires, condition)
         where t.fires <> 17 or t.condition is not null;
end;
$$;

-- A trigger's name with a suffix, cut to what a name may be.
create or replace function pgq._trigger_name(i_trigger_name text, i_suffix text)
returns name
language plpgsql immutable
as $$
declare
    _name  text := i_trigger_name;
begin
    while octet_length(_name) > 63 - length(i_suffix) loop
        _name := left(_name, -1);
    end loop;
    return (_name || i_suffix)::name;
end;
$$;

-- Makes one trigger be as wanted. Returns whether it had to be changed. One that
-- is as wanted is left alone, for every change waits for a lock on the table.
create or replace function pgq._set_trigger(
    i_table regclass, i_name name, i_fires int4, i_condition text, i_function regprocedure, i_args text[])
returns bool
language plpgsql
as $$
declare
    _trigger  record;
    _changed  bool := false;
begin
    select t.*, pgq._trigger_args(t.tgargs, t.tgnargs) as args
      into _trigger
      from pg_catalog.pg_trigger t
     where t.tgrelid = i_table and t.tgname = i_name and not t.tgisinternal;
    if not found
       or _trigger.tgfoid <> i_function
       or _trigger.tgtype <> i_fires
       or _trigger.args <> i_args
       or (_trigger.tgqual is null) <> (i_condition is null)
       or _trigger.tgoldtable is distinct from (case when i_fires in (8, 16) then 'old_rows' end)::name
       or _trigger.tgnewtable is distinct from (case when i_fires in (4, 16) then 'new_rows' end)::name
       or cardinality(_trigger.tgattr::int2[]) > 0 then
        execute format('create or replace trigger %I after %s on %s %s for each %s %s execute function %s(%s)',
                       i_name,
                       (select string_agg(e.event, ' or ' order by e.bit)
                          from (values (4, 'insert'), (8, 'delete'), (16, 'update'), (32, 'truncate')) e (bit, event)
                         where i_fires & e.bit > 0),
                       i_table,
                       case i_fires when 4 then 'referencing new table as new_rows'
                                    when 8 then 'referencing old table as old_rows'
                                    when 16 then 'referencing old table as old_rows new table as new_rows' end,
                       case when i_fires & 1 > 0 then 'row' else 'statement' end,
                       'when (' || i_condition || ')',
                       i_function::oid::regproc,
                       (select string_agg(quote_literal(arg), ', ' order by place)
                          from unnest(i_args) with ordinality a (arg, place)));
        _changed := true;
    end if;
    if _trigger.tgenabled in ('D', 'R') then
        execute format('alter table %s enable trigger %I', i_table, i_name);
        _changed := true;
    end if;
    return _changed;
end;
$$;

-- Drops generated functions that no trigger uses any more, of those that the
-- caller owns.
create or replace function pgq._drop_unused_captures()
returns void
language plpgsql
as $$
declare
    _function  regprocedure;
begin
    for _function in
        select p.oid from pg_catalog.pg_proc p
         where p.pronamespace = 'pgq'::regnamespace
           and p.proname ~ '^_capture_\d+_\d+$'
           and pg_catalog.pg_has_role(p.proowner, 'usage')
           and not exists (select 1 from pg_catalog.pg_trigger t where t.tgfoid = p.oid)
    loop
        execute format('drop function %s', _function);
    end loop;
end;
$$;

-- Captures a table into a queue with a trigger function made for the two of them,
-- and a trigger for truncate. The options are those of pgq.jsontriga but SKIP, and
-- statement: then one trigger for each operation fires once for a statement, which
-- is quicker for large ones. Expressions see pg_catalog only, so other functions
-- need their schema.
-- The function runs as the caller, who needs the right to write to the queue, so
-- that those who write the table do not. Returns 1 when something was changed, 0
-- when all was already so.
create or replace function pgq.create_capture(i_queue_name text, i_table_name text, i_trigger_name text, i_args text[])
returns int4
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _queue_id  int4;
    _table     regclass := pgq._table_oid(i_table_name);
    _name      text;
    _function  regprocedure;
    _source    text;
    _settings  text;
    _trigger   record;
    _changed   bool := false;
begin
    select queue_id into _queue_id from pgq.queue where queue_name = i_queue_name;
    if not found then
        raise exception 'No such queue' using detail = format('queue: %s', i_queue_name);
    end if;
    if _table is null then
        raise exception 'table % does not exist', i_table_name using errcode = 'undefined_table';
    end if;
    perform pgq._check_capture(_table, i_args);

    _name := format('pgq._capture_%s_%s', _queue_id, _table::oid);
    _function := to_regprocedure(_name || '()');
    _source := pgq.capture_source(i_queue_name, i_table_name, i_args);
    _settings := pgq._capture_settings(_table, i_args);
    if _function is null
       or not exists (
            select 1 from pg_catalog.pg_proc p
             where p.oid = _function
               and p.prosrc = _source
               and p.prosecdef
               and (p.proconfig[1] = 'search_path=pg_catalog, pg_temp') = (_settings ~ 'search_path')
               and coalesce(cardinality(p.proconfig), 0) = (select count(*) from regexp_matches(_settings, 'set ', 'g'))) then
        execute format('create or replace function %s() returns trigger language plpgsql security definer %s as %L', _name, _settings, _source);
        execute format('revoke all on function %s() from public', _name);
        _function := to_regprocedure(_name || '()');
        _changed := true;
    end if;
    if obj_description(_function, 'pg_proc') is distinct from pgq._capture_mark(_function, _table) then
        execute format('comment on function %s() is %L', _name, pgq._capture_mark(_function, _table));
        _changed := true;
    end if;

    -- One capture per queue and table: under another name it would double events.
    for _trigger in
        select t.tgname as name from pg_catalog.pg_trigger t
         where t.tgrelid = _table and t.tgfoid = _function and t.tgparentid = 0
           and (t.tgtype = 17 and _changed  -- its condition names the key
                or t.tgname not in (select c.name from pgq._capture_triggers(i_queue_name, i_table_name, i_trigger_name, i_args) c))
    loop
        execute format('drop trigger %I on %s', _trigger.name, _table);
        _changed := true;
    end loop;
    for _trigger in
        select c.* from pgq._capture_triggers(i_queue_name, i_table_name, i_trigger_name, i_args) c
    loop
        if pgq._set_trigger(_table, _trigger.name, _trigger.fires, _trigger.condition, _function, i_queue_name || coalesce(i_args, '{}')) then
            _changed := true;
        end if;
    end loop;
    if _changed then
        perform pgq._drop_unused_captures();
    end if;
    return _changed::int4;
end;
$$;

-- Makes captures current whose tables were altered since they were made. What else is
-- wrong with a capture stays as it is. Returns how many were made anew.
create or replace function pgq.renew_captures()
returns int4
language plpgsql
as $$
declare
    _capture  record;
    _renewed  int4 := 0;
begin
    for _capture in
        select distinct on (c.table_oid, c.function_oid) c.*
          from pgq._captures() c
          join pg_catalog.pg_description d
            on d.objoid = c.function_oid and d.classoid = 'pg_catalog.pg_proc'::regclass and d.objsubid = 0
         where c.generated
           and starts_with(d.description, 'capture ' || md5(c.source) || ' ')
           and d.description <> pgq._capture_mark(c.function_oid, c.table_oid)
         order by c.table_oid, c.function_oid, length(c.trigger_name) -- the others are named after it
    loop
        _renewed := _renewed + pgq.create_capture(_capture.queue_name, _capture.table_name, _capture.trigger_name, _capture.args);
    end loop;
    return _renewed;
end;
$$;

-- Stops capturing a table into a queue, whichever function does it. Returns the
-- number of triggers dropped.
create or replace function pgq.drop_capture(i_queue_name text, i_table_name text)
returns int4
language plpgsql
as $$
declare
    _table    regclass := pgq._table_oid(i_table_name);
    _trigger  text;
    _count    int4 := 0;
begin
    for _trigger in
        select c.trigger_name from pgq._captures() c
         where c.queue_name = i_queue_name and c.table_oid = _table
    loop
        execute format('drop trigger %I on %s', _trigger, _table);
        _count := _count + 1;
    end loop;
    perform pgq._drop_unused_captures();
    return _count;
end;
$$;
