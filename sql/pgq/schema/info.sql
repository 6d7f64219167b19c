-- Where queues and consumers are. Source: contract/pgq.md 2.3, 2.5.

-- Settings and progress of one queue, or of all when its name is null.
create or replace function pgq.get_queue_info(
    i_queue_name text,
    out queue_name text, out queue_ntables int4, out queue_cur_table int4, out queue_rotation_period interval,
    out queue_switch_time timestamptz, out queue_external_ticker bool, out queue_ticker_paused bool,
    out queue_ticker_max_count int4, out queue_ticker_max_lag interval, out queue_ticker_idle_period interval,
    out ticker_lag interval, out ev_per_sec float8, out ev_new int8, out last_tick_id int8)
returns setof record
language plpgsql
as $$
begin
    return query
        select q.queue_name, q.queue_ntables, q.queue_cur_table, q.queue_rotation_period,
               q.queue_switch_time, q.queue_external_ticker, q.queue_ticker_paused,
               q.queue_ticker_max_count, q.queue_ticker_max_lag, q.queue_ticker_idle_period,
               now() - top.tick_time,
               (top.tick_event_seq - low.tick_event_seq)
                   / nullif(extract(epoch from top.tick_time - low.tick_time), 0)::float8,
               pgq.seq_getval(q.queue_event_seq) - top.tick_event_seq,
               top.tick_id
          from pgq.queue q
          left join lateral (
                select t.tick_id, t.tick_time, t.tick_event_seq
                  from pgq.tick t where t.tick_queue = q.queue_id
                 order by t.tick_id desc limit 1) top on true
          left join lateral (
                select t.tick_time, t.tick_event_seq
                  from pgq.tick t where t.tick_queue = q.queue_id and t.tick_id >= top.tick_id - 20
                 order by t.tick_id limit 1) low on true
         where i_queue_name is null or q.queue_name = i_queue_name
         order by q.queue_name;
end;
$$;

-- The same for all queues.
create or replace function pgq.get_queue_info(
    out queue_name text, out queue_ntables int4, out queue_cur_table int4, out queue_rotation_period interval,
    out queue_switch_time timestamptz, out queue_external_ticker bool, out queue_ticker_paused bool,
    out queue_ticker_max_count int4, out queue_ticker_max_lag interval, out queue_ticker_idle_period interval,
    out ticker_lag interval, out ev_per_sec float8, out ev_new int8, out last_tick_id int8)
returns setof record
language plpgsql
as $$
begin
    return query select * from pgq.get_queue_info(null);
end;
$$;

-- Position of one consumer; null names mean all. pending_events counts up to the
-- newest tick.
create or replace function pgq.get_consumer_info(
    i_queue_name text, i_consumer_name text,
    out queue_name text, out consumer_name text, out lag interval, out last_seen interval,
    out last_tick int8, out current_batch int8, out next_tick int8, out pending_events int8)
returns setof record
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
        select q.queue_name, c.co_name, now() - l.tick_time, now() - s.sub_active,
               s.sub_last_tick, s.sub_batch, s.sub_next_tick,
               top.tick_event_seq - l.tick_event_seq
          from pgq.subscription s
          join pgq.queue q on q.queue_id = s.sub_queue
          join pgq.consumer c on c.co_id = s.sub_consumer
          left join pgq.tick l on l.tick_queue = s.sub_queue and l.tick_id = s.sub_last_tick
          left join lateral (
                select t.tick_event_seq
                  from pgq.tick t where t.tick_queue = s.sub_queue
                 order by t.tick_id desc limit 1) top on true
         where (i_queue_name is null or q.queue_name = i_queue_name)
           and (i_consumer_name is null or c.co_name = i_consumer_name)
         order by q.queue_name, c.co_name;
end;
$$;

-- The same for all consumers of a queue.
create or replace function pgq.get_consumer_info(
    i_queue_name text,
    out queue_name text, out consumer_name text, out lag interval, out last_seen interval,
    out last_tick int8, out current_batch int8, out next_tick int8, out pending_events int8)
returns setof record
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query select * from pgq.get_consumer_info(i_queue_name, null);
end;
$$;

-- The same for all consumers of all queues.
create or replace function pgq.get_consumer_info(
    out queue_name text, out consumer_name text, out lag interval, out last_seen interval,
    out last_tick int8, out current_batch int8, out next_tick int8, out pending_events int8)
returns setof record
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query select * from pgq.get_consumer_info(null, null);
end;
$$;
