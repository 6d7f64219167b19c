-- Delivering events again. Source: contract/pgq.md 2.4, 4.9.

-- Puts one event of an open batch aside until x_retry_time. Returns 1, or 0 when
-- it waits already.
create or replace function pgq.event_retry(x_batch_id int8, x_event_id int8, x_retry_time timestamptz)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _sub  record;
begin
    select s.sub_id, s.sub_queue into _sub from pgq.subscription s where s.sub_batch = x_batch_id;
    if not found then
        raise exception 'event not found';
    end if;
    insert into pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time, ev_owner, ev_retry,
                                 ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4)
    select x_retry_time, _sub.sub_queue, e.ev_id, e.ev_time, _sub.sub_id, coalesce(e.ev_retry, 0) + 1,
           e.ev_type, e.ev_data, e.ev_extra1, e.ev_extra2, e.ev_extra3, e.ev_extra4
      from pgq.get_batch_events(x_batch_id) e
     where e.ev_id = x_event_id
    on conflict do nothing;
    if found then
        return 1;
    end if;
    perform 1 from pgq.retry_queue where ev_owner = _sub.sub_id and ev_id = x_event_id;
    if not found then
        raise exception 'event not found';
    end if;
    return 0;
end;
$$;

-- The same, x_retry_seconds from now.
create or replace function pgq.event_retry(x_batch_id int8, x_event_id int8, x_retry_seconds int4)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return pgq.event_retry(x_batch_id, x_event_id, now() + make_interval(secs => x_retry_seconds));
end;
$$;

-- Puts all events of an open batch aside for i_retry_seconds, but those that
-- wait already. Returns how many. It does not finish the batch.
create or replace function pgq.batch_retry(i_batch_id int8, i_retry_seconds int4)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _sub    record;
    _count  int4;
begin
    select s.sub_id, s.sub_queue into _sub from pgq.subscription s where s.sub_batch = i_batch_id;
    if not found then
        raise exception 'batch_retry: batch % not found', i_batch_id;
    end if;
    insert into pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time, ev_owner, ev_retry,
                                 ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4)
    select now() + make_interval(secs => i_retry_seconds), _sub.sub_queue,
           e.ev_id, e.ev_time, _sub.sub_id, coalesce(e.ev_retry, 0) + 1,
           e.ev_type, e.ev_data, e.ev_extra1, e.ev_extra2, e.ev_extra3, e.ev_extra4
      from pgq.get_batch_events(i_batch_id) e
    on conflict do nothing;
    get diagnostics _count = row_count;
    return _count;
end;
$$;

-- Puts any event into the retry queue of one consumer. Null x_ev_id means the
-- next one. Returns the event id.
create or replace function pgq.event_retry_raw(
    x_queue text, x_consumer text, x_retry_after timestamptz, x_ev_id int8, x_ev_time timestamptz, x_ev_retry int4,
    x_ev_type text, x_ev_data text, x_ev_extra1 text, x_ev_extra2 text, x_ev_extra3 text, x_ev_extra4 text)
returns int8
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _sub  record;
    _id   int8 := x_ev_id;
begin
    select s.sub_id, q.queue_id, q.queue_event_seq
      into _sub
      from pgq.subscription s
      join pgq.queue q on q.queue_id = s.sub_queue
      join pgq.consumer c on c.co_id = s.sub_consumer
     where q.queue_name = x_queue
       and c.co_name = x_consumer;
    if not found then
        raise exception 'consumer not registered';
    end if;
    if _id is null then
        _id := nextval(_sub.queue_event_seq);
    end if;
    insert into pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time, ev_owner, ev_retry,
                                 ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4)
    values (x_retry_after, _sub.queue_id, _id, x_ev_time, _sub.sub_id, x_ev_retry,
            x_ev_type, x_ev_data, x_ev_extra1, x_ev_extra2, x_ev_extra3, x_ev_extra4);
    return _id;
end;
$$;

-- Moves events whose time has come back into their queues and returns how many:
-- call it until that is 0. A queue that refuses its events keeps them and does
-- not hold up the others. A queue's limit per transaction is for producers and
-- does not count here.
create or replace function pgq.maint_retry_events()
returns int4
language plpgsql
as $$
declare
    _queue  record;
    _count  int4;
    _moved  int4 := 0;
begin
    -- One mover at a time; readers and consumers are not in its way.
    lock table pgq.retry_queue in share update exclusive mode;
    for _queue in
        select q.* from pgq.queue q
         where exists (select 1 from pgq.retry_queue r where r.ev_queue = q.queue_id and r.ev_retry_after <= now())
         order by q.queue_name
    loop
        if _queue.queue_disable_insert and not pgq._is_replaying(_queue.queue_name) then
            raise warning 'queue % does not take events, its retries wait', _queue.queue_name;
            continue;
        end if;
        begin
            -- Each event moves the sequence on, by which the ticker notices it.
            execute format(
                'with due as (
                     select ev_owner, ev_id from pgq.retry_queue
                      where ev_queue = $1 and ev_retry_after <= now()
                      order by ev_retry_after limit 10000),
                 gone as (
                     delete from pgq.retry_queue r using due d
                      where r.ev_owner = d.ev_owner and r.ev_id = d.ev_id
                     returning r.*, nextval($2) as seq)
                 insert into %s (ev_id, ev_time, ev_owner, ev_retry, ev_type, ev_data,
                                 ev_extra1, ev_extra2, ev_extra3, ev_extra4)
                 select ev_id, ev_time, ev_owner, ev_retry, ev_type, ev_data,
                        ev_extra1, ev_extra2, ev_extra3, ev_extra4
                   from gone where seq is not null order by ev_retry_after, ev_id',
                pgq.quote_fqname(_queue.queue_data_pfx || '_' || _queue.queue_cur_table))
              using _queue.queue_id, _queue.queue_event_seq;
            get diagnostics _count = row_count;
            _moved := _moved + _count;
        exception
            when others then
                raise warning 'queue %: retry: %', _queue.queue_name, sqlerrm;
        end;
    end loop;
    return _moved;
end;
$$;
