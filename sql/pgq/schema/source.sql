-- The source of generated capture functions.
--
-- A captured table has a trigger function of its own, in which everything that
-- pgq.jsontriga looks up is written down: one lookup of the queue and one insert
-- remain for each row. Its events are those of pgq.jsontriga, byte for byte.

-- JSON of a row variable: an expression that joins the columns' names and values.
-- Long rows are joined in groups, which keeps the expression shallow.
create or replace function pgq._source_json(i_row text, i_columns text[], i_types oid[], i_base_types oid[], i_own_casts bool[])
returns text
language sql stable
as $$
    select coalesce('''{'' || ' || string_agg(part, E'\n         || '','' || ' order by part_no) || ' || ''}''', '''{}''')
      from (select (place - 1) / 32 as part_no,
                   '(' || string_agg(
                       quote_literal(case when (place - 1) % 32 > 0 then ',' else '' end || to_json(name)::text || ':')
                       || ' || ' || pgq._sql_json(type, base, own_cast, i_row || '.' || quote_ident(name)),
                       E'\n         || ' order by place) || ')' as part
              from unnest(i_columns, i_types, i_base_types, i_own_casts)
                   with ordinality c (name, type, base, own_cast, place)
             group by 1) p;
$$;

-- A condition that is true when one of the columns differs between new and old.
create or replace function pgq._source_differ(i_columns text[], i_base_types oid[], i_own_casts bool[])
returns text
language sql stable
as $$
    select string_agg('(' || pgq._sql_differ(base, own_cast, 'new.' || quote_ident(name), 'old.' || quote_ident(name)) || ')',
                      E'\n            or ' order by place)
      from unnest(i_columns, i_base_types, i_own_casts) with ordinality c (name, base, own_cast, place);
$$;

-- The text of an expression of the capture's arguments. A string is its own text.
create or replace function pgq._source_text(i_expr text, i_columns text[])
returns text
language sql immutable
as $$
    select case when i_expr ~ '^\s*''([^'']|'''')*''\s*$' then i_expr
           else format('(select case when e.v is distinct from null then concat(e.v) end from (select (%s) as v) e)',
                       pgq._qualify_columns(i_expr, i_columns)) end;
$$;

-- The body of the trigger function that captures a table into a queue; null when
-- one of the two does not exist. i_args are the options of pgq.jsontriga.
create or replace function pgq.capture_source(i_queue_name text, i_table_name text, i_args text[])
returns text
language plpgsql stable
as $$
declare
    _table    oid := pgq._table_oid(i_table_name);
    _queue    record;
    _opt      record;
    _schema   text;
    _name     text;
    _all      record;
    _shown    record;
    _hidden   record;
    _keys     text[];
    _key      record;
    _fields   text[] := array['_type', '_data', '_extra1', '_extra2', '_extra3', '_extra4'];
    _magic    text[] := array['_pgq_ev_type', '_pgq_ev_data', '_pgq_ev_extra1', '_pgq_ev_extra2', '_pgq_ev_extra3', '_pgq_ev_extra4'];
    _changes  text := '';  -- assignments to the fields, after the row is known
    _fixed    text := '';  -- those of them that a truncate can make, too
    _insert   text := '';
    _body     text;
begin
    select q.* into _queue from pgq.queue q where q.queue_name = i_queue_name;
    if not found or _table is null then
        return null;
    end if;
    select n.nspname, c.relname into _schema, _name
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.oid = _table;
    select * into _opt from pgq._read_options(i_args);

    select array_agg(col_name) as names, array_agg(base_type) as bases, array_agg(own_cast) as casts
      into _all from pgq._columns(_table);
    _keys := coalesce(_opt.keys, array(select col_name from pgq._columns(_table) where key_place is not null order by key_place));
    select array_agg(col_name) as names, array_agg(base_type) as bases, array_agg(own_cast) as casts
      into _key from pgq._columns(_table) where col_name = any (_keys);
    select array_agg(col_name) as names, array_agg(col_type) as types, array_agg(base_type) as bases, array_agg(own_cast) as casts
      into _shown from pgq._columns(_table)
     where not starts_with(col_name, '_pgq_ev_') and not col_name = any (coalesce(_opt.ignored, '{}'));
    select array_agg(col_name) as names, array_agg(base_type) as bases, array_agg(own_cast) as casts
      into _hidden from pgq._columns(_table) where not col_name = any (coalesce(_shown.names, '{}'));

    _body := format($f$
#variable_conflict use_column
-- Made by pgq.create_capture from the table's definition: change that, not this.
declare
    r         record;
    _current  int4;
    _closed   bool;
    _limit    int4;
    _period   interval;
    _type     text;
    _data     text;
    _extra1   text := %L;
    _extra2   text;
    _extra3   text;
    _extra4   text;
begin
    if current_setting('session_replication_role') = 'local'
       or current_setting('skytools.replaying', true) = %L then
        return null;
    end if;
$f$, _schema || '.' || _name, i_queue_name);

    if _opt.do_deny then
        return _body || format($f$    raise exception '%%', %L || tg_op || ')';
end;
$f$, format('Table ''%s.%s'' to queue ''%s'': change not allowed (', _schema, _name, i_queue_name));
    end if;

    -- What the event says. Without a key there is nothing to find the row by.
    _body := _body || format($f$
    if tg_op = 'INSERT' then
        _type := %L;
        _data := %s;
$f$, pgq._json_type('INSERT', _schema, _name, _keys),
     pgq._source_json('new', _shown.names, _shown.types, _shown.bases, _shown.casts));
    if cardinality(_keys) = 0 then
        _body := _body || $f$    elsif tg_op <> 'TRUNCATE' then
        raise exception 'Update/Delete on table without pkey';
$f$;
    else
        _body := _body || $f$    elsif tg_op = 'UPDATE' then
$f$;
        if _key.names is not null then
            _body := _body || format($f$        if %s then
            raise exception 'primary key update not allowed';
        end if;
$f$, pgq._source_differ(_key.names, _key.bases, _key.casts));
        end if;
        if _opt.ignored is not null and _hidden.names is not null then
            _body := _body || format($f$        if (%s)
           and not coalesce(%s, false) then
            return null;
        end if;
$f$, pgq._source_differ(_hidden.names, _hidden.bases, _hidden.casts), coalesce(pgq._source_differ(_shown.names, _shown.bases, _shown.casts), 'false'));
        end if;
        if _opt.do_backup then
            _body := _body || format($f$        _extra2 := %s;
$f$, pgq._source_json('old', _shown.names, _shown.types, _shown.bases, _shown.casts));
        end if;
        _body := _body || format($f$        _type := %L;
        _data := %s;
    elsif tg_op = 'DELETE' then
        _type := %L;
        _data := %s;
$f$, pgq._json_type('UPDATE', _schema, _name, _keys),
     pgq._source_json('new', _shown.names, _shown.types, _shown.bases, _shown.casts),
     pgq._json_type('DELETE', _schema, _name, _keys),
     pgq._source_json('old', _shown.names, _shown.types, _shown.bases, _shown.casts));
    end if;
    _body := _body || format($f$    else
        _type := %L;
        _data := '{}';
    end if;
$f$, pgq._json_type('TRUNCATE', _schema, _name, _keys));

    -- What columns and arguments put in its place.
    for _n in 1 .. 6 loop
        if _magic[_n] = any (_all.names) then
            _changes := _changes || format('        %s := %s;%s', _fields[_n],
                pgq._sql_text(_all.casts[array_position(_all.names, _magic[_n])], 'r.' || quote_ident(_magic[_n])), E'\n');
        end if;
    end loop;
    for _n in 1 .. 6 loop
        if _opt.ev_exprs[_n] ~ '^\s*''([^'']|'''')*''\s*$' then
            _fixed := _fixed || format('    %s := %s;%s', _fields[_n], _opt.ev_exprs[_n], E'\n');
        elsif _opt.ev_exprs[_n] is not null then
            _changes := _changes || format('        %s := %s;%s', _fields[_n],
                                           pgq._source_text(_opt.ev_exprs[_n], _all.names), E'\n');
        end if;
    end loop;
    if _opt.when_expr is not null then
        _changes := _changes || format($f$        if (%1$s) is null then
            raise exception 'when= should not be NULL';
        elsif not (%1$s) then
            return null;
        end if;
$f$, pgq._qualify_columns(_opt.when_expr, _all.names));
    end if;
    if _changes <> '' then
        _body := _body || $f$
    if tg_op <> 'TRUNCATE' then
        if tg_op = 'DELETE' then
            r := old;
        else
            r := new;
        end if;
$f$ || _changes || $f$    end if;
$f$;
    end if;
    _body := _body || _fixed;

    -- Where it goes. The branches are the queue's tables, of which one is current.
    for _n in 0 .. _queue.queue_ntables - 1 loop
        _insert := _insert || format($f$    %s _current = %s then
        insert into %s (ev_id, ev_time, ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4)
        values (nextval(%L), now(), _type, _data, _extra1, _extra2, _extra3, _extra4);
$f$, case _n when 0 then 'if' else 'elsif' end, _n, pgq.quote_fqname(_queue.queue_data_pfx || '_' || _n),
     pgq.quote_fqname(_queue.queue_event_seq));
    end loop;
    return _body || format($f$
    select q.queue_cur_table, q.queue_disable_insert, q.queue_per_tx_limit, q.queue_rotation_period
      into _current, _closed, _limit, _period
      from pgq.queue q
     where q.queue_id = %1$s;
    if _closed and current_setting('session_replication_role') <> 'replica' then
        raise exception 'Insert into queue disallowed' using errcode = 'internal_error';
    end if;
    if _limit is not null then
        perform pgq._count_event(%1$s, %2$L, _limit);
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        perform pgq._check_age(%2$L, _period);
    end if;
%3$s    else
        raise exception 'No such queue' using errcode = 'internal_error', detail = %4$L;
    end if;
    return null;
end;
$f$, _queue.queue_id, i_queue_name, _insert, 'queue: ' || i_queue_name);
end;
$$;

-- The settings that a capture function pins, because the text of a column or of
-- an expression depends on them, each as a SET clause. Columns of int, text and
-- the like need none, and their tables do not pay for it.
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
        select (select num_nonnulls(variadic ev_exprs) > 0 from pgq._read_options(i_args)) as everything,
               -- A date at the top is written by to_json, which does not look at DateStyle.
               bool_or(not top and type in ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)) as datestyle,
               bool_or(type = 'timestamptz'::regtype) as timezone,
               bool_or(type = 'interval'::regtype) as intervalstyle,
               bool_or(type = 'bytea'::regtype) as bytea_output,
               bool_or(type in ('float4'::regtype, 'float8'::regtype, 'point'::regtype, 'line'::regtype, 'lseg'::regtype,
                                'box'::regtype, 'path'::regtype, 'polygon'::regtype, 'circle'::regtype)
                       or (t.typtype = 'b' and t.typcategory <> 'A' and t.oid >= 16384)) as digits
          from part join pg_catalog.pg_type t on t.oid = part.type)
    select concat_ws(' ',
               case when datestyle or everything then 'set datestyle = ''ISO, MDY''' end,
               case when timezone or everything then 'set timezone = ''UTC''' end,
               case when intervalstyle or everything then 'set intervalstyle = ''postgres''' end,
               case when bytea_output or everything then 'set bytea_output = ''hex''' end,
               case when digits or everything then 'set extra_float_digits = ''1''' end)
      from need;
$$;
