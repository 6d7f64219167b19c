-- pgq.insert_event, which is generated.
--
-- An insert whose table is known only when it runs must be planned each time. So
-- the function that writes events holds one static insert for each data table of
-- each queue, whose plans the session keeps, and finds its queue by halving.
-- Making and dropping a queue makes it anew. Each session compiles it whole, so
-- the queues beyond the first block of ids stand in functions of their own, one
-- for each block.
--
-- It runs with the rights of its owner for whoever may call it. To set a search
-- path in each call would cost a tenth of its time; instead its text leaves
-- nothing to the caller's: every name, operator and type in it is qualified or a
-- keyword, and what it calls beside the inserts pins its own.

-- Code that runs the branch of one of many numbers, which ascend. i_what is the
-- expression that gives the number.
create or replace function pgq._source_choice(i_what text, i_numbers int4[], i_branches text[])
returns text
language plpgsql immutable
as $$
declare
    _half  int4 := cardinality(i_numbers) / 2;
begin
    if cardinality(i_numbers) = 1 then
        return format(E'    if %s operator(pg_catalog.=) %s then\n%s    end if;\n', i_what, i_numbers[1], i_branches[1]);
    end if;
    return format(E'    if %s operator(pg_catalog.<=) %s then\n%s    else\n%s    end if;\n', i_what, i_numbers[_half],
                  pgq._source_choice(i_what, i_numbers[:_half], i_branches[:_half]),
                  pgq._source_choice(i_what, i_numbers[_half + 1:], i_branches[_half + 1:]));
end;
$$;

-- Code that inserts an event into the current table of a queue and returns its id.
-- i_current is an expression for the number of the table, i_first the number of the
-- parameter that is ev_type; the others follow it.
create or replace function pgq._source_event(i_queue pgq.queue, i_current text, i_first int4)
returns text
language plpgsql stable
as $$
declare
    _body  text;
begin
    _body := format(E'    _id := pg_catalog.nextval(%L::pg_catalog.regclass);\n', pgq.quote_fqname(i_queue.queue_event_seq));
    for _n in 0 .. i_queue.queue_ntables - 1 loop
        _body := _body || format($f$    %s %s operator(pg_catalog.=) %s then
        insert into %s (ev_id, ev_time, ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4)
        values (_id, pg_catalog.now(), %s);
        return _id;
$f$, case _n when 0 then 'if' else 'elsif' end, i_current, _n, pgq.quote_fqname(i_queue.queue_data_pfx || '_' || _n),
     (select string_agg('$' || p, ', ' order by p) from generate_series(i_first, i_first + 5) p));
    end loop;
    return _body || E'    end if;\n';
end;
$$;

-- Code for all queues of a block.
create or replace function pgq._source_queues(i_number int4, i_size int4, i_queue text, i_current text, i_first int4)
returns text
language sql stable
as $$
    select pgq._source_choice(i_queue, array_agg(q.queue_id order by q.queue_id),
                              array_agg(pgq._source_event(q, i_current, i_first) order by q.queue_id))
      from pgq.queue q
     where q.queue_id / i_size = i_number;
$$;

-- The body of pgq.insert_event, around the choice of its queue.
create or replace function pgq._source_insert_event(i_choice text)
returns text
language sql immutable
as $$
    select $f$
-- Made by pgq._make_writer from pgq.queue: change that, not this.
declare
    _queue    integer;
    _current  integer;
    _special  boolean;
    _id       bigint;
begin
    select q.queue_id, q.queue_cur_table, q.queue_disable_insert or q.queue_per_tx_limit is not null
      into _queue, _current, _special
      from pgq.queue q
     where q.queue_name operator(pg_catalog.=) $1;
    if _special or pg_catalog.clock_timestamp() operator(pg_catalog.>)
                   (pg_catalog.now() operator(pg_catalog.+) interval '10 minutes') then
        perform pgq._check_insert($1, 1);
    end if;
$f$ || i_choice || $f$    -- A queue that is not there, or whose number of tables was changed by hand.
    if not coalesce(_special, false) then
        perform pgq._check_insert($1, 1);
    end if;
    return pgq._write_event($1, null, null, null, null, $2, $3, $4, $5, $6, $7);
end;
$f$;
$$;

-- The body of the function for one block of queues.
create or replace function pgq._source_block(i_choice text)
returns text
language sql immutable
as $$
    select $f$
-- Made by pgq._make_writer from pgq.queue: change that, not this.
declare
    _id  bigint;
begin
$f$ || i_choice || $f$    return null;
end;
$f$;
$$;

-- Says whether a function is as it was generated: its comment holds the digest of
-- its text. The query over installed schemas, sql/meta, looks at the same.
create or replace function pgq._is_generated(i_function oid)
returns bool
language sql stable
as $$
    select coalesce(obj_description(i_function, 'pg_proc') = 'generated ' || (select md5(p.prosrc) from pg_catalog.pg_proc p where p.oid = i_function), false);
$$;

-- Makes one of the generated functions, unless it is what it should be. One that
-- somebody has put in its place stays.
create or replace function pgq._set_writer(i_name text, i_args text, i_options text, i_source text)
returns void
language plpgsql
as $$
declare
    _signature  constant text := format('pgq.%I(%s)', i_name, i_args);
    _function   constant oid := to_regprocedure(regexp_replace(_signature, '[a-z_0-9]+ (text|int4)', '\1', 'g'));
begin
    if _function is not null and not pgq._is_generated(_function)
       or exists (select 1 from pg_catalog.pg_proc p where p.oid = _function and p.prosrc = i_source) then
        return;
    end if;
    execute format('create or replace function %s returns int8 language plpgsql %s as %L', _signature, i_options, i_source);
    execute format('comment on function %s is %L', _signature, 'generated ' || md5(i_source));
    if i_options = '' then
        execute format('revoke all on function %s from public', _signature);
    end if;
end;
$$;

-- Makes pgq.insert_event after a queue was made or dropped, or for all queues where
-- none is named; and drops blocks that have no queues any more. Two that make or
-- drop queues at once do it one after the other.
create or replace function pgq._make_writer(i_queue_id int4 default null)
returns void
language plpgsql
as $$
declare
    _size     constant int4 := 32;  -- queues in a block
    _first    int4;
    _numbers  int4[];
    _number   int4;
    _choice   text := '';
    _calls    text[] := '{}';
    _name     text;
begin
    perform pgq._lock_writer();
    select min(q.queue_id / _size), coalesce(array_agg(distinct q.queue_id / _size), '{}')
      into _first, _numbers
      from pgq.queue q;
    _numbers := array_remove(_numbers, _first);

    foreach _number in array _numbers loop
        _name := '_insert_event_' || _number;
        if i_queue_id is null or i_queue_id / _size = _number or to_regproc('pgq.' || _name) is null then
            perform pgq._set_writer(_name, 'int4, int4, text, text, text, text, text, text', '',
                                    pgq._source_block(pgq._source_queues(_number, _size, '$1', '$2', 3)));
        end if;
        _calls := _calls || format(E'    _id := pgq.%I(_queue, _current, $2, $3, $4, $5, $6, $7);\n'
                                   '    if _id is not null then\n        return _id;\n    end if;\n', _name);
    end loop;
    if _first is not null then
        _choice := pgq._source_queues(_first, _size, '_queue', '_current', 2);
    end if;
    if cardinality(_numbers) > 0 then
        _choice := _choice || pgq._source_choice(format('(_queue operator(pg_catalog./) %s)', _size), _numbers, _calls);
    end if;
    perform pgq._set_writer('insert_event',
                            'queue_name text, ev_type text, ev_data text, ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text',
                            'security definer', pgq._source_insert_event(_choice));

    for _name in
        select p.oid::regprocedure from pg_catalog.pg_proc p
         where p.pronamespace = 'pgq'::regnamespace
           and p.proname ~ '^_insert_event_\d+$'
           and not substr(p.proname, length('_insert_event_') + 1)::int4 = any (_numbers)
    loop
        execute format('drop function %s', _name);
    end loop;
end;
$$;

-- Waits for others who make or drop a queue. It comes first in such a
-- transaction, so that two of them never wait for each other.
create or replace function pgq._lock_writer()
returns void
language plpgsql
as $$
begin
    perform pg_advisory_xact_lock('pgq.queue'::regclass::oid::int4, 0);
end;
$$;

-- An insert_event that came with another PgQ makes place for ours. The real one is
-- made when the rest is there.
do $$
declare
    _old  oid := to_regprocedure('pgq.insert_event(text,text,text,text,text,text,text)');
begin
    if _old is null or not pgq._is_generated(_old) then
        create or replace function pgq.insert_event(
            queue_name text, ev_type text, ev_data text,
            ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text)
        returns int8
        language plpgsql security definer
        as 'begin return null; end';
        execute format('comment on function pgq.insert_event(text, text, text, text, text, text, text) is %L',
                       'generated ' || md5('begin return null; end'));
    end if;
end
$$;
