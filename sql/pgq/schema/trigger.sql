-- The trigger functions that work on any table. Source: contract/pgq.md 7.
--
-- They look the table up each time they fire; a captured table has a function of
-- its own (capture.sql) that does not. They run with the rights of whoever
-- writes the table and insert through pgq.insert_event.

-- The values of a row's columns as text, or as JSON, whatever the session has set.
create or replace function pgq._read_row(
    i_format text, i_columns text[], i_types oid[], i_base_types oid[], i_own_casts bool[], i_row record)
returns text[]
language plpgsql
set search_path = pg_catalog, pg_temp
set DateStyle = 'ISO, MDY'
set TimeZone = 'UTC'
set IntervalStyle = 'postgres'
set bytea_output = 'hex'
set extra_float_digits = '1'
as $$
declare
    _list    text := '';
    _column  text;
    _values  text[];
begin
    for _n in 1 .. coalesce(cardinality(i_columns), 0) loop
        _column := '($1).' || quote_ident(i_columns[_n]);
        _list := _list || case when _n > 1 then ', ' else '' end
              || case i_format when 'json' then 'coalesce(' || pgq._sql_json(i_types[_n], i_base_types[_n], i_own_casts[_n], _column) || ', ''null'')'
                               else pgq._sql_text(i_own_casts[_n], _column) end;
    end loop;
    execute 'select array[' || _list || ']::text[]' into _values using i_row;
    return _values;
end;
$$;

-- Which of the wanted columns differ between two versions of a row; null for the
-- others.
create or replace function pgq._compare_rows(
    i_columns text[], i_base_types oid[], i_own_casts bool[], i_wanted bool[], i_new record, i_old record)
returns bool[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _list    text := '';
    _differ  bool[];
begin
    for _n in 1 .. coalesce(cardinality(i_columns), 0) loop
        _list := _list || case when _n > 1 then ', ' else '' end
              || case when i_wanted[_n]
                      then pgq._sql_differ(i_base_types[_n], i_own_casts[_n],
                                           '($1).' || quote_ident(i_columns[_n]), '($2).' || quote_ident(i_columns[_n]))
                      else 'null' end;
    end loop;
    execute 'select array[' || _list || ']::bool[]' into _differ using i_new, i_old;
    return _differ;
end;
$$;

-- The text of an expression over a row's columns, which it may also call r.name.
create or replace function pgq._evaluate(i_expr text, i_columns text[], i_row record)
returns text
language plpgsql
as $$
declare
    _value  text;
begin
    execute format('select case when (e.v) is distinct from null then concat(e.v) end from (select (%s) as v from (select ($1).*) r) e',
                   pgq._qualify_columns(i_expr, i_columns))
       into strict _value using i_row;
    return _value;
end;
$$;

-- The answer of a when= expression.
create or replace function pgq._evaluate_when(i_expr text, i_columns text[], i_row record)
returns bool
language plpgsql
as $$
declare
    _value  bool;
begin
    execute format('select case when (%1$s) then true when not (%1$s) then false end from (select ($1).*) r',
                   pgq._qualify_columns(i_expr, i_columns))
       into strict _value using i_row;
    if _value is null then
        raise exception 'when= should not be NULL';
    end if;
    return _value;
end;
$$;

-- One row as col=val&col2=val2; a null has no =.
create or replace function pgq._urlencode_row(i_columns text[], i_texts text[], i_visible bool[])
returns text
language plpgsql immutable
as $$
declare
    _row  text;
begin
    for _n in 1 .. coalesce(cardinality(i_columns), 0) loop
        if i_visible[_n] then
            _row := coalesce(_row || '&', '') || pgq._urlencode(i_columns[_n])
                 || coalesce('=' || pgq._urlencode(i_texts[_n]), '');
        end if;
    end loop;
    return coalesce(_row, '');
end;
$$;

-- One row as {"col":val,"col2":val2}, without spaces.
create or replace function pgq._json_row(i_columns text[], i_jsons text[], i_visible bool[])
returns text
language plpgsql immutable
as $$
declare
    _row  text;
begin
    for _n in 1 .. coalesce(cardinality(i_columns), 0) loop
        if i_visible[_n] then
            _row := coalesce(_row || ',', '') || to_json(i_columns[_n])::text || ':' || i_jsons[_n];
        end if;
    end loop;
    return '{' || coalesce(_row, '') || '}';
end;
$$;

-- ev_type of a JSON event.
create or replace function pgq._json_type(i_op text, i_schema text, i_table text, i_keys text[])
returns text
language plpgsql immutable
as $$
declare
    _keys  text;
    _key   text;
begin
    foreach _key in array i_keys loop
        _keys := coalesce(_keys || ',', '') || to_json(_key)::text;
    end loop;
    return '{"op":' || to_json(i_op)::text || ',"table":[' || to_json(i_schema)::text || ',' || to_json(i_table)::text
        || '],"pkey":[' || coalesce(_keys, '') || ']}';
end;
$$;

-- One change as the part of a statement that follows the table's name.
-- Key columns are given in i_is_key, changed ones in i_changed (updates only).
create or replace function pgq._sql_row(
    i_op text, i_columns text[], i_texts text[], i_visible bool[], i_is_key bool[], i_changed bool[])
returns text
language plpgsql immutable
as $$
declare
    _names   text;
    _values  text;
    _sets    text;
    _where   text;
    _filler  text;
begin
    select string_agg(quote_ident(name), ',' order by place) filter (where visible),
           string_agg(coalesce(quote_literal(value), 'null'), ',' order by place) filter (where visible),
           string_agg(quote_ident(name) || '=' || coalesce(quote_literal(value), 'NULL'), ',' order by place)
               filter (where visible and changed),
           string_agg(quote_ident(name) || '=' || quote_literal(value), ' and ' order by place) filter (where is_key),
           (array_agg(quote_ident(name) || '=' || quote_literal(value) order by place) filter (where is_key))[1]
      into _names, _values, _sets, _where, _filler
      from unnest(i_columns, i_texts, i_visible, i_is_key, i_changed)
           with ordinality c (name, value, visible, is_key, changed, place);
    if i_op = 'INSERT' then
        return format('(%s) values (%s)', _names, _values);
    end if;
    if exists (select 1 from unnest(i_texts, i_is_key) k (value, is_key) where is_key and value is null) then
        raise exception 'logtriga: Unexpected NULL key value';
    end if;
    if i_op = 'UPDATE' then
        return coalesce(_sets, _filler) || ' where ' || coalesce(_where, '');
    end if;
    return coalesce(_where, '');
end;
$$;

-- Refuses a trigger that was put on a table in a way that cannot work.
create or replace function pgq._check_trigger(i_op text, i_level text, i_args text[])
returns void
language plpgsql
as $$
begin
    if i_op = 'TRUNCATE' and i_level <> 'STATEMENT' then
        raise exception 'pgq tRuncate trigger must be fired FOR EACH STATEMENT';
    elsif i_op <> 'TRUNCATE' and i_level <> 'ROW' then
        raise exception 'pgq Ins/Upd/Del trigger must be fired FOR EACH ROW';
    elsif coalesce(cardinality(i_args), 0) = 0 then
        raise exception 'pgq trigger must have destination queue as argument';
    end if;
end;
$$;

-- Refuses options that a truncate cannot honour.
create or replace function pgq._check_truncate(i_options record)
returns void
language plpgsql
as $$
begin
    if i_options.ignored is not null then
        raise exception 'Column ignore does not make sense for truncate trigger';
    elsif i_options.keys is not null then
        raise exception 'Custom pkey_list does not make sense for truncate trigger';
    elsif i_options.do_backup then
        raise exception 'Backup does not make sense for truncate trigger';
    elsif i_options.when_expr is not null or num_nonnulls(variadic i_options.ev_exprs) > 0 then
        raise exception 'Custom expressions do not make sense for truncate trigger';
    end if;
end;
$$;

-- Turns one firing of a trigger into an event, or into none. i_format is
-- urlencode, json or sql; the first of i_args is the queue.
create or replace function pgq._write_change(
    i_format text, i_op text, i_when text, i_level text, i_table oid, i_schema text, i_name text,
    i_args text[], i_new record, i_old record)
returns void
language plpgsql
as $$
declare
    _opt      record;
    _queue    text;
    _row      record;
    _columns  text[];
    _types    oid[];
    _bases    oid[];
    _casts    bool[];
    _keys     text[];
    _is_key   bool[];
    _places   int8[];      -- in the primary key
    _visible  bool[];
    _changed  bool[];
    _seen     bool := false;  -- a visible column changed
    _hidden   bool := false;  -- another one did
    _values   text[];
    _fields   text[] := array_fill(null::text, array[6]);  -- ev_type, ev_data, ev_extra1 to ev_extra4
    _magic    text[] := array['_pgq_ev_type', '_pgq_ev_data', '_pgq_ev_extra1',
                              '_pgq_ev_extra2', '_pgq_ev_extra3', '_pgq_ev_extra4'];
begin
    perform pgq._check_trigger(i_op, i_level, i_args);
    _queue := i_args[array_lower(i_args, 1)];
    select * into _opt from pgq._read_options(i_args[array_lower(i_args, 1) + 1:]);

    -- No aggregate here may have an order of its own: from PostgreSQL 16 on it would
    -- sort the input of the others, too.
    select array_agg(c.col_name), array_agg(c.col_type), array_agg(c.base_type), array_agg(c.own_cast), array_agg(c.key_place)
      into _columns, _types, _bases, _casts, _places
      from pgq._columns(i_table) c;
    _keys := coalesce(_opt.keys, array(select k.name from unnest(_columns, _places) k (name, place)
                                        where k.place is not null order by k.place));

    if i_op = 'TRUNCATE' then
        perform pgq._check_truncate(_opt);
    elsif i_op <> 'INSERT' and cardinality(_keys) = 0 then
        raise exception 'Update/Delete on table without pkey';
    end if;
    if _opt.do_skip and i_when = 'AFTER' then
        raise exception 'SKIP does not work in AFTER trigger.';
    end if;
    if _opt.do_deny then
        raise exception 'Table ''%.%'' to queue ''%'': change not allowed (%)', i_schema, i_name, _queue, i_op;
    end if;

    if i_op = 'TRUNCATE' then
        perform pgq.insert_event(
            queue_name => _queue,
            ev_type => case i_format when 'json' then pgq._json_type(i_op, i_schema, i_name, _keys) else 'R' end,
            ev_data => case i_format when 'json' then '{}' else '' end,
            ev_extra1 => i_schema || '.' || i_name, ev_extra2 => null, ev_extra3 => null, ev_extra4 => null);
        return;
    end if;

    for _n in 1 .. coalesce(cardinality(_columns), 0) loop
        if starts_with(_columns[_n], '_pgq_ev_') and not _columns[_n] = any (_magic) then
            raise exception 'Unknown magic column: %', _columns[_n];
        end if;
        _is_key[_n] := _columns[_n] = any (_keys);
        _visible[_n] := not starts_with(_columns[_n], '_pgq_ev_')
                    and not _columns[_n] = any (coalesce(_opt.ignored, '{}'));
    end loop;

    if i_op = 'UPDATE' then
        -- Without a list to ignore, only SQL asks which columns beside the key changed.
        _changed := pgq._compare_rows(_columns, _bases, _casts,
                                      case when i_format = 'sql' or _opt.ignored is not null
                                           then array_fill(true, array[cardinality(_columns)]) else _is_key end,
                                      i_new, i_old);
        for _n in 1 .. coalesce(cardinality(_columns), 0) loop
            if _changed[_n] and _is_key[_n] then
                raise exception 'primary key update not allowed';
            end if;
            _seen := _seen or (_changed[_n] and _visible[_n]);
            _hidden := _hidden or (_changed[_n] and not _visible[_n]);
        end loop;
        -- Changes that nobody is to see make no event; a change of nothing does.
        if _opt.ignored is not null and _hidden and not _seen then
            return;
        end if;
    end if;

    if i_op = 'DELETE' then
        _row := i_old;
    else
        _row := i_new;
    end if;
    _values := pgq._read_row(i_format, _columns, _types, _bases, _casts, _row);
    case i_format
        when 'urlencode' then
            _fields[1] := left(i_op, 1) || ':' || coalesce(_opt.keys_text, array_to_string(_keys, ','));
            _fields[2] := pgq._urlencode_row(_columns, _values, _visible);
        when 'json' then
            _fields[1] := pgq._json_type(i_op, i_schema, i_name, _keys);
            _fields[2] := pgq._json_row(_columns, _values, _visible);
        else
            _fields[1] := left(i_op, 1);
            _fields[2] := pgq._sql_row(i_op, _columns, _values, _visible, _is_key, _changed);
    end case;
    _fields[3] := i_schema || '.' || i_name;

    if _opt.do_backup and i_op = 'UPDATE' then
        _values := pgq._read_row(i_format, _columns, _types, _bases, _casts, i_old);
        _fields[4] := case i_format when 'json' then pgq._json_row(_columns, _values, _visible)
                                    else pgq._urlencode_row(_columns, _values, _visible) end;
    end if;

    for _n in 1 .. 6 loop
        if _magic[_n] = any (_columns) then
            _fields[_n] := pgq._evaluate(quote_ident(_magic[_n]), _columns, _row);
        end if;
    end loop;
    for _n in 1 .. 6 loop
        if _opt.ev_exprs[_n] is not null then
            _fields[_n] := pgq._evaluate(_opt.ev_exprs[_n], _columns, _row);
        end if;
    end loop;
    if _opt.when_expr is not null and not pgq._evaluate_when(_opt.when_expr, _columns, _row) then
        return;
    end if;

    perform pgq.insert_event(
        queue_name => _queue, ev_type => _fields[1], ev_data => _fields[2], ev_extra1 => _fields[3],
        ev_extra2 => _fields[4], ev_extra3 => _fields[5], ev_extra4 => _fields[6]);
end;
$$;

-- Writes the event of a captured table whose capture was made for another shape of
-- it: as a generic trigger does, with a look at the table for each row. It runs
-- with the rights of the capture's owner.
create or replace function pgq._write_reshaped(i_op text, i_table oid, i_args text[], i_new record, i_old record)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _table  record;
begin
    select n.nspname, c.relname into _table
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.oid = i_table;
    perform pgq._write_change('json', i_op, 'AFTER', 'ROW', i_table, _table.nspname, _table.relname,
                              array_remove(i_args, 'statement'), i_new, i_old);
end;
$$;

-- Says whether triggers for a queue stay quiet in this session: it replays what
-- it got from the queue, or (*) into tables that several queues fill, or the
-- administrator asked for it.
create or replace function pgq._is_quiet(i_args text[])
returns bool
language plpgsql stable
as $$
begin
    return current_setting('session_replication_role') = 'local'
        or coalesce(current_setting('skytools.replaying', true) in (i_args[array_lower(i_args, 1)], '*'), false);
end;
$$;

-- Writes changes as col=val&col2=val2.
create or replace function pgq.logutriga()
returns trigger
language plpgsql
as $$
declare
    _quiet  bool := pgq._is_quiet(tg_argv);
begin
    if not _quiet then
        perform pgq._write_change('urlencode', tg_op, tg_when, tg_level, tg_relid, tg_table_schema, tg_table_name,
                                  tg_argv, new, old);
    end if;
    return case when tg_when = 'AFTER' or tg_level = 'STATEMENT' or (not _quiet and 'SKIP' = any (tg_argv)) then null
                when tg_op = 'DELETE' then old
                else new end;
end;
$$;

-- Writes changes as {"col":val,"col2":val2}.
create or replace function pgq.jsontriga()
returns trigger
language plpgsql
as $$
declare
    _quiet  bool := pgq._is_quiet(tg_argv);
begin
    if not _quiet then
        perform pgq._write_change('json', tg_op, tg_when, tg_level, tg_relid, tg_table_schema, tg_table_name,
                                  tg_argv, new, old);
    end if;
    return case when tg_when = 'AFTER' or tg_level = 'STATEMENT' or (not _quiet and 'SKIP' = any (tg_argv)) then null
                when tg_op = 'DELETE' then old
                else new end;
end;
$$;

-- Writes changes as the part of an SQL statement that follows the table's name.
create or replace function pgq.sqltriga()
returns trigger
language plpgsql
as $$
declare
    _quiet  bool := pgq._is_quiet(tg_argv);
begin
    if not _quiet then
        perform pgq._write_change('sql', tg_op, tg_when, tg_level, tg_relid, tg_table_schema, tg_table_name,
                                  tg_argv, new, old);
    end if;
    return case when tg_when = 'AFTER' or tg_level = 'STATEMENT' or (not _quiet and 'SKIP' = any (tg_argv)) then null
                when tg_op = 'DELETE' then old
                else new end;
end;
$$;
