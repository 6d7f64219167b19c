-- Ticks. Source: contract/pgq.md 2.5, 4.2, 4.5, 4.6.
--
-- Every tick of a queue must see all that the tick before it saw, or batches
-- overlap and lose events. So whoever ticks takes the queue's lock first, in a
-- statement of its own: the snapshot that is stored is younger than the lock.
-- Every tick is announced on the channel pgq_tick, with the queue as payload. On
-- the channel pgq_force_tick anybody may ask for one: our ticker listens there.

-- Waits for other tickers of a queue. Under repeatable read, where the snapshot
-- is older than the lock, it refuses when somebody ticked in between.
create or replace function pgq._lock_ticks(i_queue_id int4, i_tick_seq text)
returns void
language plpgsql
as $$
declare
    _newest  int8;
begin
    perform pg_advisory_xact_lock('pgq.tick'::regclass::oid::int4, i_queue_id);
    if current_setting('transaction_isolation') <> 'read committed' then
        select max(tick_id) into _newest from pgq.tick where tick_queue = i_queue_id;
        if _newest <> pgq.seq_getval(i_tick_seq) then
            raise exception 'cannot tick: the snapshot of this transaction is too old'
                  using errcode = 'serialization_failure', hint = 'Run the ticker in read committed.';
        end if;
    end if;
end;
$$;

-- Wakes who waits for a tick. A payload is limited by the server to 8000 bytes.
create or replace function pgq._announce_tick(i_queue_name text)
returns void
language plpgsql
as $$
begin
    if octet_length(i_queue_name) < 8000 then
        perform pg_notify('pgq_tick', i_queue_name);
    end if;
end;
$$;

-- Ticks a queue whose ticks come from somewhere else, with their id, time and
-- event sequence. Ids must grow; an event sequence that does not is raised.
-- Returns the tick id.
create or replace function pgq.ticker(i_queue_name text, i_tick_id int8, i_orig_timestamp timestamptz, i_event_seq int8)
returns int8
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _queue   record;
    _newest  record;
    _seq     int8 := i_event_seq;
begin
    select q.queue_id, q.queue_tick_seq, q.queue_event_seq
      into _queue
      from pgq.queue q
     where q.queue_name = i_queue_name
       and q.queue_external_ticker
       and not q.queue_ticker_paused;
    if not found then
        raise exception 'queue not found or ticker disabled: %', i_queue_name;
    end if;

    perform pgq._lock_ticks(_queue.queue_id, _queue.queue_tick_seq);
    select t.tick_id, t.tick_event_seq into _newest
      from pgq.tick t where t.tick_queue = _queue.queue_id
     order by t.tick_id desc limit 1;
    if i_tick_id <= _newest.tick_id then
        raise exception 'queue %: tick % is not newer than tick %', i_queue_name, i_tick_id, _newest.tick_id
              using errcode = 'unique_violation';
    end if;
    if _seq < _newest.tick_event_seq then
        _seq := _newest.tick_event_seq;
    end if;

    insert into pgq.tick (tick_queue, tick_id, tick_time, tick_event_seq)
    values (_queue.queue_id, i_tick_id, i_orig_timestamp, _seq);
    perform pgq.seq_setval(_queue.queue_tick_seq, i_tick_id);
    perform pgq.seq_setval(_queue.queue_event_seq, _seq);
    perform pgq._announce_tick(i_queue_name);
    return i_tick_id;
end;
$$;

-- Says whether a queue needs a tick: often while events arrive, more and more
-- seldom when they do not. Warns about positions that cannot be true.
create or replace function pgq._needs_tick(i_queue pgq.queue, i_event_seq int8)
returns bool
language plpgsql
as $$
declare
    _newest  pgq.tick;
    _before  timestamptz;
    _new     int8;
    _lag     interval;
    _now     int8 := txid_snapshot_xmax(txid_current_snapshot());  -- looking must not use up a transaction id
begin
    select * into _newest from pgq.tick where tick_queue = i_queue.queue_id order by tick_id desc limit 1;
    if not found then
        return true;
    end if;
    if txid_snapshot_xmin(_newest.tick_snapshot) > _now then
        raise exception 'Invalid PgQ state: queue % tick % is from transaction %, now is %. Was this database restored from a dump?',
                        i_queue.queue_name, _newest.tick_id, txid_snapshot_xmin(_newest.tick_snapshot), _now;
    end if;
    if txid_snapshot_xmax(_newest.tick_snapshot) > _now then
        raise warning 'queue % tick % has a snapshot from the future: xmax %, now %',
                      i_queue.queue_name, _newest.tick_id, txid_snapshot_xmax(_newest.tick_snapshot), _now;
    end if;

    _new := i_event_seq - _newest.tick_event_seq;
    _lag := now() - _newest.tick_time;
    if _new < 0 then
        raise warning 'queue % event sequence % is behind its tick %', i_queue.queue_name, i_event_seq, _newest.tick_event_seq;
    end if;
    if _new > 0 then
        return _new >= i_queue.queue_ticker_max_count or _lag >= i_queue.queue_ticker_max_lag;
    end if;

    select tick_time into _before
      from pgq.tick where tick_queue = i_queue.queue_id and tick_id < _newest.tick_id
     order by tick_id desc limit 1;
    if not found then
        return true;
    end if;
    return _lag >= i_queue.queue_ticker_max_lag / 2
       and (_lag >= 2 * (_newest.tick_time - _before) or _lag >= i_queue.queue_ticker_idle_period);
end;
$$;

-- Ticks one queue if it needs a tick. Returns the new tick's id, or null.
create or replace function pgq.ticker(i_queue_name text)
returns int8
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _queue    pgq.queue;
    _seq      int8;
    _tick_id  int8;
begin
    select * into _queue from pgq.queue where queue_name = i_queue_name;
    if not found then
        raise exception 'no such queue';
    end if;
    if _queue.queue_external_ticker then
        raise exception 'This queue has external tick source.';
    end if;
    if _queue.queue_ticker_paused then
        raise exception 'Ticker has been paused for this queue';
    end if;

    _seq := pgq.seq_getval(_queue.queue_event_seq);
    if not pgq._needs_tick(_queue, _seq) then
        return null;
    end if;

    -- Somebody may have ticked while we waited.
    perform pgq._lock_ticks(_queue.queue_id, _queue.queue_tick_seq);
    _seq := pgq.seq_getval(_queue.queue_event_seq);
    if not pgq._needs_tick(_queue, _seq) then
        return null;
    end if;

    insert into pgq.tick (tick_queue, tick_id, tick_event_seq)
    values (_queue.queue_id, nextval(_queue.queue_tick_seq), _seq)
    returning tick_id into _tick_id;
    perform pgq._announce_tick(i_queue_name);
    return _tick_id;
end;
$$;

-- One round over all queues that are ticked here. One query looks at all of them,
-- in a few microseconds each; pgq.ticker decides about those that may need a tick.
-- A queue that cannot be ticked costs a warning and does not stop the others.
--
--   ticked   queues that were
--   busy     queues that got events since their newest tick
--   due      until the first of the busy ones must be ticked; null: none waits
--   max_lag  the smallest ticker_max_lag; null: there are no queues
create or replace function pgq._tick_all(out ticked int8, out busy int8, out due interval, out max_lag interval)
returns record
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _xmax   constant int8 := txid_snapshot_xmax(txid_current_snapshot());
    _names  text[];
    _name   text;
begin
    ticked := 0;
    select array_agg(s.queue_name order by s.queue_name) filter (where s.is_due),
           count(*) filter (where s.new > 0),
           min(s.queue_ticker_max_lag - s.lag) filter (where s.new > 0 and not s.is_due),
           min(s.queue_ticker_max_lag)
      into _names, busy, due, max_lag
      from (select q.queue_name, q.queue_ticker_max_lag, e.new, e.lag,
                   e.new is null or e.new < 0 or txid_snapshot_xmax(t.tick_snapshot) > _xmax
                   or case when e.new > 0
                           then e.new >= q.queue_ticker_max_count or e.lag >= q.queue_ticker_max_lag
                           else b.tick_time is null
                                or e.lag >= q.queue_ticker_max_lag / 2
                                   and (e.lag >= 2 * (t.tick_time - b.tick_time) or e.lag >= q.queue_ticker_idle_period) end as is_due
              from pgq.queue q
             cross join lateral (select to_regclass(q.queue_event_seq) as oid) c
              left join lateral (
                    select tick_id, tick_time, tick_event_seq, tick_snapshot
                      from pgq.tick where tick_queue = q.queue_id
                     order by tick_queue desc, tick_id desc limit 1) t on true
              left join lateral (
                    select tick_time
                      from pgq.tick where tick_queue = q.queue_id and tick_id < t.tick_id
                     order by tick_queue desc, tick_id desc limit 1) b on true
             cross join lateral (
                    select now() - t.tick_time as lag,
                           case when c.oid is not null
                                then coalesce(pg_sequence_last_value(c.oid), 1) - t.tick_event_seq end as new) e
             where not q.queue_external_ticker
               and not q.queue_ticker_paused) s;

    foreach _name in array coalesce(_names, '{}') loop
        begin
            if pgq.ticker(_name) is not null then
                ticked := ticked + 1;
            end if;
        exception
            when others then
                raise warning 'queue %: ticker: %', _name, sqlerrm;
        end;
    end loop;
end;
$$;

-- Ticks all queues that are ticked here and need it. Returns how many.
create or replace function pgq.ticker()
returns int8
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
    select ticked from pgq._tick_all();
$$;

-- Makes the next run of the ticker see enough events to tick, and tells a ticker
-- that listens on the channel pgq_force_tick to run now. Returns the newest tick id
-- now, null for an unknown queue: poll until it changes.
create or replace function pgq.force_tick(i_queue_name text)
returns int8
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _queue  pgq.queue;
begin
    select * into _queue from pgq.queue where queue_name = i_queue_name;
    if not found then
        return null;
    end if;
    if not _queue.queue_external_ticker and not _queue.queue_ticker_paused then
        perform setval(_queue.queue_event_seq,
                       nextval(_queue.queue_event_seq) + 2 * _queue.queue_ticker_max_count + 1000);
        perform pg_notify('pgq_force_tick', '');
    end if;
    return (select max(tick_id) from pgq.tick where tick_queue = _queue.queue_id);
end;
$$;
