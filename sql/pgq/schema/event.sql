-- Writing events. Source: contract/pgq.md 2.2.
--
--     insert_event(3) -> insert_event(7)    one event, the quick way (writer.sql)
--     insert_event_raw                      one event, with all its fields
--     insert_events                         many events in one statement
--
-- What is refused uses up its event ids all the same, by which the ticker knows
-- that something happened.

-- Says whether this session replays what the queue got from somewhere else: then
-- even a queue that is closed to others may be written, and triggers stay quiet.
create or replace function pgq._is_replaying(i_queue_name text)
returns bool
language sql stable
as $$
    select current_setting('session_replication_role') = 'replica'
        or coalesce(current_setting('skytools.replaying', true) = i_queue_name, false);
$$;

-- Says no to an event. Its id is used up, as that of every refused event.
create or replace function pgq._refuse_event(
    i_queue pgq.queue, i_message text, i_code text default 'XX000', i_detail text default '', i_hint text default '')
returns void
language plpgsql
as $$
begin
    perform nextval(pgq.quote_fqname(i_queue.queue_event_seq));
    raise exception '%', i_message using errcode = i_code, detail = i_detail, hint = i_hint;
end;
$$;

-- Counts events of the current transaction against the queue's limit. The count
-- lives in a setting that ends with the transaction.
create or replace function pgq._count_events(i_queue pgq.queue, i_events int8)
returns void
language plpgsql
as $$
declare
    _setting  text := 'pgq.tx_events_' || i_queue.queue_id;
    _count    int8 := coalesce(nullif(current_setting(_setting, true), ''), '0')::int8 + i_events;
begin
    if _count > i_queue.queue_per_tx_limit then
        perform pgq._refuse_event(i_queue, format('Queue ''%s'' allows max %s events from one TX',
                                                  i_queue.queue_name, i_queue.queue_per_tx_limit));
    end if;
    perform set_config(_setting, _count::text, true);
end;
$$;

-- Refuses i_events events that the queue must not get now, or counts them. Who
-- writes calls it only where something is special about the queue or the
-- transaction: it is closed, it has a limit, or it is ten minutes old.
--
-- A repeatable read or serializable transaction may be older than a whole
-- rotation: what it sees of pgq.queue may then name a table that nobody reads any
-- more, and the event would be lost. Younger ones are safe, because readers always
-- look into the previous table too.
create or replace function pgq._check_insert(i_queue_name text, i_events int8)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _queue  pgq.queue;
begin
    select * into _queue from pgq.queue q where q.queue_name = i_queue_name;
    if not found then
        raise exception '%', case when i_queue_name is null then 'Queue name must not be NULL'
                                  else 'No such queue' end
              using errcode = 'internal_error', detail = format('queue: %s', i_queue_name);
    end if;
    if _queue.queue_disable_insert and not pgq._is_replaying(i_queue_name) then
        perform pgq._refuse_event(_queue, 'Insert into queue disallowed');
    end if;
    if _queue.queue_per_tx_limit is not null then
        perform pgq._count_events(_queue, i_events);
    end if;
    if clock_timestamp() > now() + greatest(_queue.queue_rotation_period, interval '10 minutes')
       and current_setting('transaction_isolation') <> 'read committed' then
        perform pgq._refuse_event(
            _queue, format('transaction is too old to write to queue %s', i_queue_name), '40001',
            format('Its snapshot is older than the rotation period of %s.', _queue.queue_rotation_period),
            'Try the transaction again, or use read committed.');
    end if;
end;
$$;

-- Writes one event as given, into a queue that takes it, and returns its id.
create or replace function pgq._write_event(
    i_queue_name text, i_id int8, i_time timestamptz, i_owner int4, i_retry int4, i_type text,
    i_data text, i_extra1 text, i_extra2 text, i_extra3 text, i_extra4 text)
returns int8
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _queue  record;
    _id     int8;
begin
    select nextval(pgq.quote_fqname(q.queue_event_seq)) as next_id,
           pgq.quote_fqname(q.queue_data_pfx || '_' || q.queue_cur_table) as table_name
      into _queue
      from pgq.queue q
     where q.queue_name = i_queue_name;
    _id := coalesce(i_id, _queue.next_id);
    execute 'insert into ' || _queue.table_name
         || ' (ev_id, ev_time, ev_owner, ev_retry, ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4)'
         || ' values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)'
      using _id, coalesce(i_time, now()), i_owner, i_retry, i_type, i_data, i_extra1, i_extra2, i_extra3, i_extra4;
    return _id;
end;
$$;

-- Writes one event as given and returns its id. Null ev_id means the next one,
-- null ev_time now. The event sequence advances in every case.
create or replace function pgq.insert_event_raw(
    queue_name text, ev_id int8, ev_time timestamptz, ev_owner int4, ev_retry int4, ev_type text,
    ev_data text, ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text)
returns int8
language plpgsql
as $$
begin
    perform pgq._check_insert(queue_name, 1);
    return pgq._write_event(queue_name, ev_id, ev_time, ev_owner, ev_retry, ev_type, ev_data,
                            ev_extra1, ev_extra2, ev_extra3, ev_extra4);
end;
$$;

-- Writes one event without extra fields and returns its id.
create or replace function pgq.insert_event(queue_name text, ev_type text, ev_data text)
returns int8
language plpgsql
as $$
begin
    return pgq.insert_event(queue_name, ev_type, ev_data, null, null, null, null);
end;
$$;

-- Writes many events at once and returns their ids in order: for producers, who
-- save the cost of a call for each. Event n has the nth item of every array; an
-- array that is null leaves its field null. All arrays that are given must be as
-- long as i_types.
create or replace function pgq.insert_events(
    i_queue_name text, i_types text[], i_datas text[], i_extra1s text[] default null,
    i_extra2s text[] default null, i_extra3s text[] default null, i_extra4s text[] default null)
returns setof int8
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _queue   record;
    _events  int4 := coalesce(cardinality(i_types), 0);
    _array   record;
begin
    for _array in
        select a.name, a.items
          from (values ('i_datas', cardinality(i_datas)), ('i_extra1s', cardinality(i_extra1s)),
                       ('i_extra2s', cardinality(i_extra2s)), ('i_extra3s', cardinality(i_extra3s)),
                       ('i_extra4s', cardinality(i_extra4s))) a (name, items)
         where a.items <> _events
         limit 1
    loop
        raise exception 'insert_events: i_types has % items, % has %', _events, _array.name, _array.items
              using errcode = 'array_subscript_error';
    end loop;

    select q.queue_disable_insert or q.queue_per_tx_limit is not null as is_special,
           pgq.quote_fqname(q.queue_event_seq) as event_seq,
           pgq.quote_fqname(q.queue_data_pfx || '_' || q.queue_cur_table) as table_name
      into _queue
      from pgq.queue q
     where q.queue_name = i_queue_name;
    if not found or _queue.is_special or clock_timestamp() > now() + interval '10 minutes' then
        perform pgq._check_insert(i_queue_name, _events);
    end if;
    if _events > 0 then
        return query execute
            'insert into ' || _queue.table_name || ' (ev_id, ev_time, ev_type'
            || case when i_datas is not null then ', ev_data' else '' end
            || case when i_extra1s is not null then ', ev_extra1' else '' end
            || case when i_extra2s is not null then ', ev_extra2' else '' end
            || case when i_extra3s is not null then ', ev_extra3' else '' end
            || case when i_extra4s is not null then ', ev_extra4' else '' end
            -- The arrays are taken apart in a query of their own: it ends with a row that
            -- does not count and must not get an id.
            || ') select nextval($1), now(), e.* from (select unnest($2)'
            || case when i_datas is not null then ', unnest($3)' else '' end
            || case when i_extra1s is not null then ', unnest($4)' else '' end
            || case when i_extra2s is not null then ', unnest($5)' else '' end
            || case when i_extra3s is not null then ', unnest($6)' else '' end
            || case when i_extra4s is not null then ', unnest($7)' else '' end
            || ') e'
            || ' returning ev_id'
          using _queue.event_seq::regclass, i_types, i_datas, i_extra1s, i_extra2s, i_extra3s, i_extra4s;
    end if;
end;
$$;

-- Name of the table that gets events now, for bulk loading. It holds only until
-- the end of the transaction.
create or replace function pgq.current_event_table(x_queue_name text)
returns text
language plpgsql
as $$
declare
    _queue  record;
begin
    select q.queue_disable_insert, q.queue_data_pfx || '_' || q.queue_cur_table as table_name
      into _queue
      from pgq.queue q
     where q.queue_name = x_queue_name;
    if not found then
        raise exception 'Event queue not found';
    end if;
    if _queue.queue_disable_insert and not pgq._is_replaying(x_queue_name) then
        raise exception 'Writing to queue disabled';
    end if;
    return _queue.table_name;
end;
$$;
