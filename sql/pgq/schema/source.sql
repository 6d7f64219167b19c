-- The source of generated capture functions.
--
-- A captured table has a trigger function of its own, in which everything that
-- pgq.jsontriga looks up is written down: one lookup of the queue and one insert
-- remain for each row. Its events are those of pgq.jsontriga, byte for byte.

-- JSON of a row variable: an expression that joins the columns' names and values.
-- Of the columns in i_never_null it need not ask whether they are null. Long rows
-- are joined in groups, which keeps the expression shallow.
create or replace function pgq._source_json(
    i_row text, i_columns text[], i_types oid[], i_base_types oid[], i_own_casts bool[], i_never_null text[])
returns text
language sql stable
as $$
    select coalesce(string_agg('(' || part || ')', E'\n         || ' order by part_no) || ' || ''}''', '''{}''')
      from (select (place - 1) / 32 as part_no,
                   string_agg(case when name = any (i_never_null) then quote_literal(key) || ' || ' || value
                                   else format('coalesce(%L || %s, %L)', key, value, key || 'null') end,
                              E'\n         || ' order by place) as part
              from (select place, name,
                           case place when 1 then '{' else ',' end || to_json(name)::text || ':' as key,
                           pgq._sql_json(type, base, own_cast, i_row || '.' || quote_ident(name)) as value
                      from unnest(i_columns, i_types, i_base_types, i_own_casts)
                           with ordinality c (name, type, base, own_cast, place)) m
             group by 1) p;
$$;

-- A condition that is true when one of the columns differs between two rows.
create or replace function pgq._source_differ(
    i_columns text[], i_base_types oid[], i_own_casts bool[], i_new text, i_old text)
returns text
language sql stable
as $$
    select string_agg('(' || pgq._sql_differ(base, own_cast, i_new || '.' || quote_ident(name), i_old || '.' || quote_ident(name)) || ')',
                      E'\n            or ' order by place)
      from unnest(i_columns, i_base_types, i_own_casts) with ordinality c (name, base, own_cast, place);
$$;

-- What there is to know about a table that is captured into a queue; queue_row and
-- table_name are null when one of the two does not exist. i_args are the options of
-- pgq.jsontriga. Of the columns, shown are in the event, hidden are not.
create or replace function pgq._capture_facts(
    i_queue_name text, i_table_name text, i_args text[],
    out queue_row pgq.queue, out table_oid oid, out table_schema text, out table_name text,
    out do_deny bool, out do_backup bool, out do_ignore bool, out ev_exprs text[], out when_expr text, out keys text[],
    out all_names text[], out all_casts bool[], out never_null text[], out key_names text[], out key_bases oid[], out key_casts bool[],
    out shown_names text[], out shown_types oid[], out shown_bases oid[], out shown_casts bool[],
    out hidden_names text[], out hidden_bases oid[], out hidden_casts bool[])
returns record
language plpgsql stable
as $$
declare
    _table  oid := pgq._table_oid(i_table_name);
    _opt    record;
begin
    table_oid := _table;
    select q.* into queue_row from pgq.queue q where q.queue_name = i_queue_name;
    select n.nspname, c.relname into table_schema, table_name
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.oid = _table;
    select * into _opt from pgq._read_options(array_remove(i_args, 'statement'));
    do_deny := _opt.do_deny;
    do_backup := _opt.do_backup;
    do_ignore := _opt.ignored is not null;
    ev_exprs := _opt.ev_exprs;
    when_expr := _opt.when_expr;
    keys := coalesce(_opt.keys, array(select c.col_name from pgq._columns(_table) c where c.key_place is not null order by c.key_place));

    select array_agg(c.col_name), array_agg(c.own_cast), array_agg(c.col_name) filter (where c.key_place is not null),
           array_agg(c.col_name) filter (where is_key), array_agg(c.base_type) filter (where is_key),
           array_agg(c.own_cast) filter (where is_key),
           array_agg(c.col_name) filter (where is_shown), array_agg(c.col_type) filter (where is_shown),
           array_agg(c.base_type) filter (where is_shown), array_agg(c.own_cast) filter (where is_shown),
           array_agg(c.col_name) filter (where not is_shown), array_agg(c.base_type) filter (where not is_shown),
           array_agg(c.own_cast) filter (where not is_shown)
      into all_names, all_casts, never_null, key_names, key_bases, key_casts,
           shown_names, shown_types, shown_bases, shown_casts, hidden_names, hidden_bases, hidden_casts
      from (select c.*, c.col_name = any (_capture_facts.keys) as is_key,
                   not starts_with(c.col_name, '_pgq_ev_') and not c.col_name = any (coalesce(_opt.ignored, '{}')) as is_shown
              from pgq._columns(_table) c) c;
end;
$$;

-- A condition over two versions of a row: only what the event does not show is
-- changed. Null where there is no such update.
create or replace function pgq._source_unseen(i_facts record, i_new text, i_old text)
returns text
language plpgsql stable
as $$
begin
    if not i_facts.do_ignore or i_facts.hidden_names is null then
        return null;
    end if;
    return format('(%s) and not coalesce(%s, false)',
                  pgq._source_differ(i_facts.hidden_names, i_facts.hidden_bases, i_facts.hidden_casts, i_new, i_old),
                  coalesce(pgq._source_differ(i_facts.shown_names, i_facts.shown_bases, i_facts.shown_casts, i_new, i_old), 'false'));
end;
$$;

-- ev_data: the JSON of what the event shows of a row.
create or replace function pgq._source_data(i_facts record, i_row text)
returns text
language plpgsql stable
as $$
begin
    return pgq._source_json(i_row, i_facts.shown_names, i_facts.shown_types, i_facts.shown_bases, i_facts.shown_casts,
                            coalesce(i_facts.never_null, '{}'));
end;
$$;

-- ev_type, as a literal.
create or replace function pgq._source_type(i_facts record, i_op text)
returns text
language plpgsql stable
as $$
begin
    return quote_literal(pgq._json_type(i_op, i_facts.table_schema, i_facts.table_name, i_facts.keys));
end;
$$;

-- Says whether an expression is a string constant: an event of a truncate, for
-- which there is no row, can have that.
create or replace function pgq._is_constant(i_expr text)
returns bool
language sql immutable
as $$
    select coalesce(i_expr ~ '^\s*''([^'']|'''')*''\s*$', false);
$$;

-- The text of an expression of the capture's arguments, over a row called r. A
-- string is its own text.
create or replace function pgq._source_text(i_expr text, i_columns text[])
returns text
language sql immutable
as $$
    select case when pgq._is_constant(i_expr) then i_expr
           else format('(select case when e.v is distinct from null then concat(e.v) end from (select (%s) as v) e)',
                       pgq._qualify_columns(i_expr, i_columns)) end;
$$;

-- What columns and options put in the place of a field, over a row called r; null
-- where nothing does. i_field counts from 1: ev_type, ev_data, ev_extra1 to
-- ev_extra4.
create or replace function pgq._source_override(i_facts record, i_field int4)
returns text
language plpgsql stable
as $$
declare
    _magic  constant text[] := array['_pgq_ev_type', '_pgq_ev_data', '_pgq_ev_extra1', '_pgq_ev_extra2', '_pgq_ev_extra3', '_pgq_ev_extra4'];
    _place  int4 := array_position(i_facts.all_names, _magic[i_field]);
begin
    if i_facts.ev_exprs[i_field] is not null then
        return pgq._source_text(i_facts.ev_exprs[i_field], i_facts.all_names);
    elsif _place is not null then
        return pgq._sql_text(i_facts.all_casts[_place], 'r.' || quote_ident(_magic[i_field]));
    end if;
    return null;
end;
$$;

-- The six fields of an event, ev_type to ev_extra4, as expressions. i_row is the row
-- that it shows, i_old the one before an update.
create or replace function pgq._source_fields(i_facts record, i_op text, i_row text, i_old text)
returns text[]
language plpgsql stable
as $$
declare
    _fields  text[];
begin
    for _n in 1 .. 6 loop
        _fields[_n] := coalesce(pgq._source_override(i_facts, _n), case
            when _n = 1 then pgq._source_type(i_facts, i_op)
            when _n = 2 then pgq._source_data(i_facts, i_row)
            when _n = 3 then quote_literal(i_facts.table_schema || '.' || i_facts.table_name)
            when _n = 4 and i_op = 'UPDATE' and i_facts.do_backup then pgq._source_data(i_facts, i_old)
            else 'null' end);
    end loop;
    return _fields;
end;
$$;

-- The fields of the event of a truncate, which has no row.
create or replace function pgq._source_truncate(i_facts record)
returns text[]
language plpgsql stable
as $$
declare
    _fields  text[] := array[pgq._source_type(i_facts, 'TRUNCATE'), '''{}''',
                             quote_literal(i_facts.table_schema || '.' || i_facts.table_name), 'null', 'null', 'null'];
begin
    for _n in 1 .. 6 loop
        if pgq._is_constant(i_facts.ev_exprs[_n]) then
            _fields[_n] := i_facts.ev_exprs[_n];
        end if;
    end loop;
    return _fields;
end;
$$;

-- The look at the queue that every writer takes.
create or replace function pgq._source_lookup(i_facts record)
returns text
language plpgsql stable
as $$
begin
    return format($f$    select q.queue_cur_table, q.queue_disable_insert or q.queue_per_tx_limit is not null
      into _current, _special
      from pgq.queue q
     where q.queue_id = %s;
$f$, (i_facts.queue_row).queue_id);
end;
$$;

-- One insert for each data table of the queue, of which one is current. i_rows
-- comes after the columns: values or a select.
create or replace function pgq._source_inserts(i_facts record, i_rows text)
returns text
language plpgsql stable
as $$
declare
    _queue  pgq.queue := i_facts.queue_row;
    _body   text := '';
begin
    for _n in 0 .. _queue.queue_ntables - 1 loop
        _body := _body || format($f$    %s _current = %s then
        insert into %s (ev_id, ev_time, ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4)
        %s;
$f$, case _n when 0 then 'if' else 'elsif' end, _n, pgq.quote_fqname(_queue.queue_data_pfx || '_' || _n), i_rows);
    end loop;
    return _body || format($f$    else
        raise exception 'No such queue' using errcode='internal_error', detail=%L;
    end if;
$f$, 'queue: ' || _queue.queue_name);
end;
$$;

-- What comes before the fields of every event: its id and its time.
create or replace function pgq._source_head(i_facts record)
returns text
language plpgsql stable
as $$
begin
    return format('nextval(%L), now(), ', pgq.quote_fqname((i_facts.queue_row).queue_event_seq));
end;
$$;

-- Inserts of one event. A field that must be computed goes through a variable:
-- plpgsql keeps the code of an assignment, but an insert makes its own anew each
-- time.
create or replace function pgq._source_event_of(i_facts record, i_fields text[])
returns text
language plpgsql stable
as $$
declare
    _names   constant text[] := array['_type', '_data', '_extra1', '_extra2', '_extra3', '_extra4'];
    _fields  text[] := i_fields;
    _body    text := '';
begin
    for _n in 1 .. 6 loop
        if _fields[_n] <> 'null' and not pgq._is_constant(_fields[_n]) then
            _body := _body || format(E'    %s := %s;\n', _names[_n], _fields[_n]);
            _fields[_n] := _names[_n];
        end if;
    end loop;
    return _body || pgq._source_inserts(i_facts, 'values (' || pgq._source_head(i_facts) || array_to_string(_fields, ', ') || ')');
end;
$$;

-- A condition: the key is changed. Columns of the primary key are never null, so
-- where their types are the server's own an operator of the server's says it.
create or replace function pgq._source_new_key(i_facts record)
returns text
language plpgsql stable
as $$
begin
    if i_facts.key_names <@ coalesce(i_facts.never_null, '{}') and pgq._are_plain(i_facts.key_bases) then
        return (select string_agg(format('new.%1$I <> old.%1$I', k.name), ' or ' order by k.place)
                  from unnest(i_facts.key_names) with ordinality k (name, place));
    end if;
    return pgq._source_differ(i_facts.key_names, i_facts.key_bases, i_facts.key_casts, 'new', 'old');
end;
$$;

-- Types whose equality is the server's operator = and nothing else.
create or replace function pgq._are_plain(i_types oid[])
returns bool
language sql immutable
as $$
    select i_types <@ array['int2', 'int4', 'int8', 'text', 'varchar', 'uuid', 'date', 'timestamp', 'timestamptz', 'numeric']::regtype[]::oid[];
$$;

-- The text of a function with all operators, functions and types in it qualified,
-- if that is asked for, so that it needs no search path. It knows what the
-- functions above write; strings and quoted names stay as they are.
create or replace function pgq._qualified(i_source text, i_wanted bool)
returns text
language plpgsql immutable
as $$
begin
    if not i_wanted then
        return i_source;
    end if;
    return (
        select string_agg(case when p.part ~ '^[''"]' then p.part else
                   regexp_replace(regexp_replace(regexp_replace(p.part,
                       ' (\|\||=|<>|>=|<=|>|\+) ', ' operator(pg_catalog.\1) ', 'g'),
                       '(?<![\w.])(current_setting|clock_timestamp|now|nextval|to_json|timezone|left|concat|row_number)\(', 'pg_catalog.\1(', 'g'),
                       '::text', '::pg_catalog.text', 'g') end, '' order by p.place)
          from regexp_matches(i_source, $re$('(?:[^']|'')*'|"(?:[^"]|"")*"|[^'"]+)$re$, 'g') with ordinality m (t, place)
         cross join lateral (select m.t[1] as part, m.place) p);
end;
$$;

-- What a trigger does that fires for each row: it looks whether the change is one
-- to tell, and inserts one event.
create or replace function pgq._source_rows(i_facts record)
returns text
language plpgsql stable
as $$
declare
    _unseen    constant text := pgq._source_unseen(i_facts, 'new', 'old');
    _uses_row  constant bool := i_facts.when_expr is not null
                             or exists (select from generate_series(1, 6) n where pgq._source_override(i_facts, n) is not null);
    _check     constant text := format($f$    if _special or clock_timestamp() > (now() + interval '10 minutes') then
        perform pgq._check_insert(%L, 1);
    end if;
$f$, (i_facts.queue_row).queue_name);
    _op        text;
    _row       text;
    _body      text := pgq._source_lookup(i_facts);
begin
    foreach _op in array array['INSERT', 'UPDATE', 'DELETE'] loop
        _row := case _op when 'DELETE' then 'old' else 'new' end;
        _body := _body || format(E'    %s tg_op = %L then\n', case _op when 'INSERT' then 'if' else 'elsif' end, _op);
        if _op <> 'INSERT' and cardinality(i_facts.keys) = 0 then  -- nothing would tell which row it was
            _body := _body || E'    raise exception ''Update/Delete on table without pkey'';\n';
            continue;
        end if;
        if _op = 'UPDATE' and i_facts.key_names is not null then
            _body := _body || format($f$    if %s then
        raise exception 'primary key update not allowed';
    end if;
$f$, pgq._source_new_key(i_facts));
        end if;
        if _op = 'UPDATE' and _unseen is not null then
            _body := _body || format($f$    if %s then
        return null;
    end if;
$f$, _unseen);
        end if;
        if _uses_row then
            _body := _body || format(E'    r := %s;\n', _row);
        end if;
        if i_facts.when_expr is not null then
            _body := _body || format($f$    if (%1$s) is null then
        raise exception 'when= should not be NULL';
    elsif not (%1$s) then
        return null;
    end if;
$f$, pgq._qualify_columns(i_facts.when_expr, i_facts.all_names));
        end if;
        _body := _body || _check || pgq._source_event_of(i_facts, pgq._source_fields(i_facts, _op, _row, 'old'));
    end loop;
    return _body || E'    else\n' || _check || pgq._source_event_of(i_facts, pgq._source_truncate(i_facts)) || E'    end if;\n';
end;
$$;

-- A select of the events of one operation, from the rows that the statement
-- changed, in the order in which it changed them. Where an event needs both
-- versions of a row the two tables are read side by side: the server fills them in
-- step.
create or replace function pgq._source_changed(i_facts record, i_op text)
returns text
language plpgsql stable
as $$
declare
    _unseen  constant text := case when i_op = 'UPDATE' then pgq._source_unseen(i_facts, 'r', 'o') end;
    _joined  constant bool := _unseen is not null or i_op = 'UPDATE' and i_facts.do_backup;
    _rows    constant text := case i_op when 'DELETE' then 'old_rows' else 'new_rows' end;
    _where   text[];
begin
    if i_facts.when_expr is not null then
        _where := _where || format('pgq._when_holds(%s)', pgq._qualify_columns(i_facts.when_expr, i_facts.all_names));
    end if;
    _where := _where || ('not (' || _unseen || ')');
    return 'select ' || pgq._source_head(i_facts)
        || array_to_string(pgq._source_fields(i_facts, i_op, 'r', 'o'), E',\n               ')
        || E'\n          from '
        || case when _joined
                then '(select row_number() over () as _pgq_row, * from new_rows) r'
                     ' join (select row_number() over () as _pgq_row, * from old_rows) o using (_pgq_row)'
                else _rows || ' r' end
        || coalesce(E'\n         where ' || nullif(array_to_string(_where, E'\n           and '), ''), '')
        || case when _joined then E'\n         order by _pgq_row' else '' end;
end;
$$;

-- What triggers do that fire once for a statement: one insert of all its events.
-- Beside them a trigger for rows fires where a key is changed, to refuse that.
create or replace function pgq._source_statements(i_facts record)
returns text
language plpgsql stable
as $$
declare
    _body  text := '';
    _op    text;
begin
    if i_facts.key_names is not null then
        _body := $f$    if tg_level = 'ROW' then
        raise exception 'primary key update not allowed';
    end if;
$f$;
    end if;
    _body := _body || pgq._source_lookup(i_facts);
    foreach _op in array array['INSERT', 'UPDATE', 'DELETE'] loop
        _body := _body || format(E'    %s tg_op = %L then\n', case _op when 'INSERT' then 'if' else 'elsif' end, _op);
        if _op <> 'INSERT' and cardinality(i_facts.keys) = 0 then
            _body := _body || $f$    if exists (select from old_rows) then
        raise exception 'Update/Delete on table without pkey';
    end if;
$f$;
        else
            _body := _body || pgq._source_inserts(i_facts, pgq._source_changed(i_facts, _op));
        end if;
    end loop;
    return _body || E'    else\n' || pgq._source_event_of(i_facts, pgq._source_truncate(i_facts)) || format($f$    end if;
    get diagnostics _events := row_count;
    if _events > 0 and (_special or clock_timestamp() > (now() + interval '10 minutes')) then
        perform pgq._check_insert(%L, _events);
    end if;
$f$, (i_facts.queue_row).queue_name);
end;
$$;

-- What a capture does when its table was altered since it was made: the same, but
-- as slowly as a trigger that knows no table. So nothing is lost until apply has
-- made it anew. i_args are the trigger's.
create or replace function pgq._source_reshaped(i_facts record, i_args text[])
returns text
language plpgsql stable
as $$
declare
    _test   constant text := format('not pgq._is_shape(''%s''::pg_catalog.oid, %L)', i_facts.table_oid, pgq._table_digest(i_facts.table_oid));
    _call   constant text := format('perform pgq._write_reshaped(tg_op, ''%s''::pg_catalog.oid, %L::pg_catalog.text[], ',
                                    i_facts.table_oid, i_args);
    _type   constant text := format('%I.%I', i_facts.table_schema, i_facts.table_name);
begin
    if not coalesce('statement' = any (i_args), false) then
        return format(E'    if %s and tg_op <> ''TRUNCATE'' then\n        %s;\n        return null;\n    end if;\n',
                      _test, _call || 'new, old)');
    end if;
    return format($f$    if %s and tg_level = 'STATEMENT' and tg_op <> 'TRUNCATE' then
        if tg_op = 'INSERT' then
            for r in select t::%5$s as one from new_rows t loop
                %2$s;
            end loop;
        elsif tg_op = 'DELETE' then
            for r in select t::%5$s as one from old_rows t loop
                %3$s;
            end loop;
        else
            for r in select n.one as one, o.one as other
                       from (select row_number() over () as place, t::%5$s as one from new_rows t) n
                       join (select row_number() over () as place, t::%5$s as one from old_rows t) o on o.place = n.place
                      order by n.place loop
                %4$s;
            end loop;
        end if;
        return null;
    end if;
$f$, _test, _call || 'r.one, null)', _call || 'null, r.one)', _call || 'r.one, r.other)', _type);
end;
$$;

-- The answer of a when= condition, which must be one.
create or replace function pgq._when_holds(i_answer bool)
returns bool
language plpgsql stable
as $$
begin
    if i_answer is null then
        raise exception 'when= should not be NULL';
    end if;
    return i_answer;
end;
$$;

-- The body of the trigger function that captures a table into a queue; null when
-- one of the two does not exist. i_args are the options of pgq.jsontriga, and
-- statement where the triggers fire once for a statement.
create or replace function pgq.capture_source(i_queue_name text, i_table_name text, i_args text[])
returns text
language plpgsql stable
as $$
declare
    _facts         record;
    _named         text;
    _variables     text;
    _body          text;
begin
    select * into _facts from pgq._capture_facts(i_queue_name, i_table_name, i_args);
    if (_facts.queue_row).queue_id is null or _facts.table_name is null then
        return null;
    end if;
    _named := _facts.table_schema || '.' || _facts.table_name;

    if _facts.do_deny then
        _body := format(E'    raise exception ''%%'', %L || tg_op || '')'';\n',
                        format('Table ''%s'' to queue ''%s'': change not allowed (', _named, i_queue_name));
    elsif 'statement' = any (i_args) then
        _body := pgq._source_statements(_facts);
    else
        _body := pgq._source_rows(_facts);
    end if;
    if not _facts.do_deny then
        _body := pgq._source_reshaped(_facts, i_queue_name || coalesce(i_args, '{}')) || _body;
    end if;
    -- Each call makes room for every variable: only for those that it uses.
    select string_agg(format('    %-9s pg_catalog.%s;', v.name, v.type), E'\n' order by v.place) into _variables
      from (values (1, '_current', 'int4'), (2, '_special', 'bool'), (3, '_events', 'int8'), (4, 'r', 'record'),
                   (5, '_type', 'text'), (6, '_data', 'text'), (7, '_extra1', 'text'), (8, '_extra2', 'text'),
                   (9, '_extra3', 'text'), (10, '_extra4', 'text')) v (place, name, type)
     where _body ~ ('\m' || v.name || '\M');
    return pgq._qualified(format($f$
#variable_conflict use_column
-- Made by pgq.create_capture from what the table looks like: change that, not this.
declare
%s
begin
    if current_setting('session_replication_role') = 'local' or current_setting('skytools.replaying', true) = %L
        or current_setting('skytools.replaying', true) = '*' then
        return null;
    end if;
%s    return null;
end;
$f$, _variables, i_queue_name, _body), pgq._capture_settings(_facts.table_oid, i_args) !~ 'search_path');
end;
$$;

-- Says whether the text of a capture function can be qualified whole: it has no
-- expressions of users, and compares only what the server's operators compare.
create or replace function pgq._needs_no_path(i_table oid, i_args text[])
returns bool
language plpgsql stable
as $$
declare
    _opt  record;
begin
    select * into _opt from pgq._read_options(array_remove(i_args, 'statement'));
    return _opt.when_expr is null and num_nonnulls(variadic _opt.ev_exprs) = 0 and _opt.ignored is null and _opt.keys is null
       and ('statement' = any (i_args)
            or coalesce((select pgq._are_plain(array_agg(c.base_type)) from pgq._columns(i_table) c where c.key_place is not null), true));
end;
$$;

-- The settings that a capture function pins, each as a SET clause: those that the
-- text of a column or of an expression depends on. Each call pays for them, about a
-- tenth of its time; tables with columns of int, text, timestamptz and the like
-- need none. Then not even the search path is pinned, for the whole text is
-- qualified (_qualified); and as nothing of a user's is run, the queue is looked up by
-- its index: a scan of a table of one page asks the kernel for its size each time,
-- which takes longer than to pin the setting. Where a statement's old
-- and new rows are joined the plan must not be one for few rows: it is kept, and
-- the next statement may have many.
create or replace function pgq._capture_settings(i_table oid, i_args text[])
returns text
language sql stable
as $$
    with recursive part (top, type) as (
        select true, atttypid from pg_catalog.pg_attribute
         where attrelid = i_table and attnum > 0 and not attisdropped
        union
        select false, inner_type.oid
          from part
          join pg_catalog.pg_type t on t.oid = part.type
         cross join lateral (
                select t.typelem as oid where t.typcategory = 'A'
                union all
                select t.typbasetype where t.typtype = 'd'
                union all
                select a.atttypid from pg_catalog.pg_attribute a
                 where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
                union all
                select g.rngsubtype from pg_catalog.pg_range g where t.oid in (g.rngtypid, g.rngmultitypid)) inner_type),
    need as (
        select (select num_nonnulls(variadic ev_exprs) > 0 from pgq._read_options(array_remove(i_args, 'statement'))) as everything,
               (select o.do_backup or o.ignored is not null from pgq._read_options(array_remove(i_args, 'statement')) o)
                   and 'statement' = any (i_args) as is_joined,
               -- Times at the top are written by to_json, which does not look at DateStyle,
               -- and in UTC.
               bool_or(not top and type in ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)) as datestyle,
               bool_or(not top and type = 'timestamptz'::regtype) as timezone,
               bool_or(type = 'interval'::regtype) as intervalstyle,
               bool_or(type = 'bytea'::regtype) as bytea_output,
               bool_or(type in ('float4'::regtype, 'float8'::regtype, 'point'::regtype, 'line'::regtype, 'lseg'::regtype,
                                'box'::regtype, 'path'::regtype, 'polygon'::regtype, 'circle'::regtype)
                       or (t.typtype = 'b' and t.typcategory <> 'A' and t.oid >= 16384)) as digits
          from part join pg_catalog.pg_type t on t.oid = part.type)
    select case when plain.settings = '' and qualified then 'set enable_seqscan = off' else concat_ws(' ', 'set search_path = pg_catalog, pg_temp', nullif(plain.settings, '')) end
      from need
     cross join lateral (select pgq._needs_no_path(i_table, i_args) as qualified) q
     cross join lateral (select concat_ws(' ',
               case when datestyle or everything then 'set datestyle = ''ISO, MDY''' end,
               case when timezone or everything then 'set timezone = ''UTC''' end,
               case when intervalstyle or everything then 'set intervalstyle = ''postgres''' end,
               case when bytea_output or everything then 'set bytea_output = ''hex''' end,
               case when digits or everything then 'set extra_float_digits = ''1''' end,
               case when is_joined then 'set enable_nestloop = off' end) as settings) plain;
$$;
