-- Batches: what lies between two ticks, handed to one consumer.
-- Source: contract/pgq.md 2.4, 4.1, 4.3, 4.4.

-- Opens the next batch, or returns the one that is open. Null: nothing to do.
create or replace function pgq.next_batch(i_queue_name text, i_consumer_name text)
returns int8
language plpgsql
as $$
declare
    _batch_id  int8;
begin
    select f.batch_id into _batch_id
      from pgq.next_batch_custom(i_queue_name, i_consumer_name, null, null, null) f;
    return _batch_id;
end;
$$;

-- As next_batch, with both ticks.
create or replace function pgq.next_batch_info(
    i_queue_name text, i_consumer_name text,
    out batch_id int8, out cur_tick_id int8, out prev_tick_id int8,
    out cur_tick_time timestamptz, out prev_tick_time timestamptz,
    out cur_tick_event_seq int8, out prev_tick_event_seq int8)
returns record
language plpgsql
as $$
begin
    select f.batch_id, f.cur_tick_id, f.prev_tick_id, f.cur_tick_time, f.prev_tick_time,
           f.cur_tick_event_seq, f.prev_tick_event_seq
      into batch_id, cur_tick_id, prev_tick_id, cur_tick_time, prev_tick_time,
           cur_tick_event_seq, prev_tick_event_seq
      from pgq.next_batch_custom(i_queue_name, i_consumer_name, null, null, null) f;
end;
$$;

-- As next_batch_info, but no batch unless it is at least i_min_lag old, and with
-- at least i_min_count events or spanning i_min_interval.
--
-- Looking costs no lock, so an idle consumer may poll often. Opening locks the
-- subscription and looks again: of two sessions of one consumer the second gets
-- the batch of the first.
create or replace function pgq.next_batch_custom(
    i_queue_name text, i_consumer_name text, i_min_lag interval, i_min_count int4, i_min_interval interval,
    out batch_id int8, out cur_tick_id int8, out prev_tick_id int8,
    out cur_tick_time timestamptz, out prev_tick_time timestamptz,
    out cur_tick_event_seq int8, out prev_tick_event_seq int8)
returns record
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _sub     record;
    _locked  record;
begin
    loop
        select s.sub_queue, s.sub_consumer, s.sub_last_tick, s.sub_batch,
               l.tick_id as last_id, l.tick_time as last_time, l.tick_event_seq as last_seq,
               n.tick_id as next_id, n.tick_time as next_time, n.tick_event_seq as next_seq
          into _sub
          from pgq.queue q
          join pgq.subscription s on s.sub_queue = q.queue_id
          join pgq.consumer c on c.co_id = s.sub_consumer
          left join pgq.tick l on l.tick_queue = s.sub_queue and l.tick_id = s.sub_last_tick
          left join pgq.tick n on n.tick_queue = s.sub_queue and n.tick_id = s.sub_next_tick
         where q.queue_name = i_queue_name
           and c.co_name = i_consumer_name;
        if not found then
            raise exception 'Not subscriber to queue: %/%', i_queue_name, i_consumer_name;
        end if;
        if _sub.last_id is null then
            raise exception 'PgQ corruption: Consumer % on queue % does not see tick %',
                            i_consumer_name, i_queue_name, _sub.sub_last_tick;
        end if;

        prev_tick_id := _sub.last_id;
        prev_tick_time := _sub.last_time;
        prev_tick_event_seq := _sub.last_seq;

        if _sub.sub_batch is not null then
            batch_id := _sub.sub_batch;
            cur_tick_id := _sub.next_id;
            cur_tick_time := _sub.next_time;
            cur_tick_event_seq := _sub.next_seq;
            return;
        end if;

        if i_min_count is null and i_min_interval is null then
            select t.tick_id, t.tick_time, t.tick_event_seq
              into cur_tick_id, cur_tick_time, cur_tick_event_seq
              from pgq.tick t
             where t.tick_queue = _sub.sub_queue and t.tick_id > _sub.sub_last_tick
             order by t.tick_id
             limit 1;
        else
            select h.next_tick_id, h.next_tick_time, h.next_tick_seq
              into cur_tick_id, cur_tick_time, cur_tick_event_seq
              from pgq.find_tick_helper(_sub.sub_queue, prev_tick_id, prev_tick_time, prev_tick_event_seq,
                                        i_min_count, i_min_interval) h;
        end if;
        if cur_tick_id is null or now() - cur_tick_time < i_min_lag then
            prev_tick_id := null;
            prev_tick_time := null;
            prev_tick_event_seq := null;
            cur_tick_id := null;
            cur_tick_time := null;
            cur_tick_event_seq := null;
            return;
        end if;

        select s.sub_last_tick, s.sub_batch
          into _locked
          from pgq.subscription s
         where s.sub_queue = _sub.sub_queue and s.sub_consumer = _sub.sub_consumer
           for update;
        -- Moved, opened or gone since it was looked at: look again.
        continue when not found or _locked.sub_batch is not null or _locked.sub_last_tick <> _sub.sub_last_tick;

        batch_id := nextval('pgq.batch_id_seq');
        update pgq.subscription s
           set sub_batch = batch_id, sub_next_tick = cur_tick_id, sub_active = now()
         where s.sub_queue = _sub.sub_queue and s.sub_consumer = _sub.sub_consumer;
        return;
    end loop;
end;
$$;

-- Finds the tick that ends a batch of at least i_min_count events or of
-- i_min_interval. The newest tick is taken unless it is more than twice as far
-- as asked for; then the first one that is far enough. Nulls: none is.
create or replace function pgq.find_tick_helper(
    i_queue_id int4, i_prev_tick_id int8, i_prev_tick_time timestamptz, i_prev_tick_seq int8,
    i_min_count int8, i_min_interval interval,
    out next_tick_id int8, out next_tick_time timestamptz, out next_tick_seq int8)
returns record
language plpgsql stable
as $$
declare
    _count  int8;
    _age    interval;
begin
    select tick_id, tick_time, tick_event_seq, tick_event_seq - i_prev_tick_seq, tick_time - i_prev_tick_time
      into next_tick_id, next_tick_time, next_tick_seq, _count, _age
      from pgq.tick
     where tick_queue = i_queue_id and tick_id > i_prev_tick_id
     order by tick_id desc
     limit 1;

    if coalesce(_count > 2 * i_min_count, false) or coalesce(_age > 2 * i_min_interval, false) then
        select tick_id, tick_time, tick_event_seq
          into next_tick_id, next_tick_time, next_tick_seq
          from pgq.tick
         where tick_queue = i_queue_id
           and tick_id > i_prev_tick_id
           and (tick_event_seq >= i_prev_tick_seq + i_min_count or tick_time >= i_prev_tick_time + i_min_interval)
         order by tick_id
         limit 1;
    elsif not (coalesce(_count >= i_min_count, false) or coalesce(_age >= i_min_interval, false)) then
        next_tick_id := null;
        next_tick_time := null;
        next_tick_seq := null;
    end if;
end;
$$;

-- Facts about an open batch; all null for an unknown one.
create or replace function pgq.get_batch_info(
    x_batch_id int8,
    out queue_name text, out consumer_name text, out batch_start timestamptz, out batch_end timestamptz,
    out prev_tick_id int8, out tick_id int8, out lag interval, out seq_start int8, out seq_end int8)
returns record
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    select q.queue_name, c.co_name, l.tick_time, n.tick_time, s.sub_last_tick, s.sub_next_tick,
           now() - n.tick_time, l.tick_event_seq, n.tick_event_seq
      into queue_name, consumer_name, batch_start, batch_end, prev_tick_id, tick_id, lag, seq_start, seq_end
      from pgq.subscription s
      join pgq.queue q on q.queue_id = s.sub_queue
      join pgq.consumer c on c.co_id = s.sub_consumer
      join pgq.tick l on l.tick_queue = s.sub_queue and l.tick_id = s.sub_last_tick
      join pgq.tick n on n.tick_queue = s.sub_queue and n.tick_id = s.sub_next_tick
     where s.sub_batch = x_batch_id;
end;
$$;

-- Closes a batch: the next one starts where it ended. Returns 1, or 0 and a
-- warning for an unknown batch. A member of a cooperative consumer has no
-- position of its own and becomes idle.
create or replace function pgq.finish_batch(x_batch_id int8)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update pgq.subscription s
       set sub_last_tick = case when pgq._is_member(s.sub_queue, s.sub_id, s.sub_consumer)
                                then null else s.sub_next_tick end,
           sub_next_tick = null,
           sub_batch = null,
           sub_active = now()
     where s.sub_batch = x_batch_id;
    if not found then
        raise warning 'finish_batch: batch % not found', x_batch_id;
        return 0;
    end if;
    return 1;
end;
$$;

-- The data tables that a batch may have events in, previous one first.
--
-- The rotation is two transactions, and a producer may have looked at pgq.queue
-- before it and write after it, however its transaction id compares with the
-- ids of the rotation. So the previous table is always read too: one probe of
-- an index. Only a batch from before the rotation cannot be in the new one.
create or replace function pgq.batch_event_tables(x_batch_id int8)
returns setof text
language plpgsql
as $$
declare
    _batch  record;
    _prev   int4;
begin
    select q.queue_data_pfx, q.queue_cur_table, q.queue_ntables, q.queue_switch_step1,
           txid_snapshot_xmax(n.tick_snapshot) as xmax
      into _batch
      from pgq.subscription s
      join pgq.queue q on q.queue_id = s.sub_queue
      join pgq.tick l on l.tick_queue = s.sub_queue and l.tick_id = s.sub_last_tick
      join pgq.tick n on n.tick_queue = s.sub_queue and n.tick_id = s.sub_next_tick
     where s.sub_batch = x_batch_id;
    if not found then
        raise exception 'Cannot find data for batch %', x_batch_id;
    end if;

    _prev := (_batch.queue_cur_table + _batch.queue_ntables - 1) % _batch.queue_ntables;
    if _prev <> _batch.queue_cur_table then
        return next _batch.queue_data_pfx || '_' || _prev;
    end if;
    if _prev = _batch.queue_cur_table or _batch.xmax >= _batch.queue_switch_step1 then
        return next _batch.queue_data_pfx || '_' || _batch.queue_cur_table;
    end if;
end;
$$;

-- The query for the events of a batch: those that were not visible at its first
-- tick and are at its last. Long transactions that ended between the two are named
-- one by one, so that they do not widen the range that is scanned; those close to
-- the range are taken into it. What the two snapshots say is written out as plain
-- comparisons, which cost each event less than to ask the snapshots.
-- The text ends in " order by 1", which get_batch_cursor relies on.
create or replace function pgq.batch_event_sql(x_batch_id int8)
returns text
language plpgsql
as $$
declare
    _columns  constant text := 'select ev_id, ev_time, ev_txid, ev_retry, ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4';
    _batch    record;
    _start    int8;
    _open     int8[];         -- still running at the last tick
    _near     int8[] := '{}'; -- ended since the first tick, and in the range
    _late     int8[] := '{}'; -- the same, before it
    _xid      int8;
    _range    text;
    _table    text;
    _from     text;
    _parts    text[] := '{}';
begin
    select s.sub_id, l.tick_snapshot as last, n.tick_snapshot as cur,
           txid_snapshot_xmax(l.tick_snapshot) as first, txid_snapshot_xmax(n.tick_snapshot) as until
      into _batch
      from pgq.subscription s
      join pgq.tick l on l.tick_queue = s.sub_queue and l.tick_id = s.sub_last_tick
      join pgq.tick n on n.tick_queue = s.sub_queue and n.tick_id = s.sub_next_tick
     where s.sub_batch = x_batch_id;
    if not found then
        raise exception 'batch not found';
    end if;

    _start := _batch.first;
    for _xid in
        select x from txid_snapshot_xip(_batch.last) x
         where txid_visible_in_snapshot(x, _batch.cur)
         order by x desc
    loop
        if cardinality(_late) = 0 and _start - _xid <= 100 then
            _start := _xid;
            _near := _xid || _near;
        else
            _late := _xid || _late;
        end if;
    end loop;
    _range := format(' and ev_txid between %s and %s', _start, _batch.until - 1);
    _open := array(select x from txid_snapshot_xip(_batch.cur) x where x >= _start order by x);
    if cardinality(_open) > 0 then
        _range := _range || format(' and ev_txid not in (%s)', array_to_string(_open, ', '));
    end if;
    if cardinality(_near) > 0 then
        _range := _range || format(' and (ev_txid >= %s or ev_txid in (%s))', _batch.first, array_to_string(_near, ', '));
    end if;

    for _table in select t from pgq.batch_event_tables(x_batch_id) t loop
        _from := format(' from %s where (ev_owner is null or ev_owner = %s)', pgq.quote_fqname(_table), _batch.sub_id);
        _parts := _parts || (_columns || _from || _range);
        if cardinality(_late) > 0 then
            _parts := _parts || (_columns || _from || format(' and ev_txid in (%s)', array_to_string(_late, ', ')));
        end if;
    end loop;
    if cardinality(_parts) = 0 then
        raise exception 'could not construct sql for batch %', x_batch_id;
    end if;
    return array_to_string(_parts, ' union all ') || ' order by 1';
end;
$$;

-- The events of a batch, by id.
create or replace function pgq.get_batch_events(
    x_batch_id int8,
    out ev_id int8, out ev_time timestamptz, out ev_txid int8, out ev_retry int4, out ev_type text, out ev_data text,
    out ev_extra1 text, out ev_extra2 text, out ev_extra3 text, out ev_extra4 text)
returns setof record
language plpgsql
as $$
begin
    return query execute pgq.batch_event_sql(x_batch_id);
end;
$$;
