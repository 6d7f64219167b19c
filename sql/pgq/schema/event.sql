-- Writing events. Source: contract/pgq.md 2.2.

-- Says whether this session replays what the queue got from somewhere else: then
-- even a queue that is closed to others may be written, and triggers stay quiet.
create or replace function pgq._is_replaying(i_queue_name text)
returns bool
language sql stable
as $$
    select current_setting('session_replication_role') = 'replica'
        or coalesce(current_setting('skytools.replaying', true) = i_queue_name, false);
$$;

-- Counts one event of the current transaction against the queue's limit. The
-- count lives in a setting that ends with the transaction.
create or replace function pgq._count_event(i_queue_id int4, i_queue_name text, i_limit int4)
returns void
language plpgsql
as $$
declare
    _setting  text := 'pgq.tx_events_' || i_queue_id;
    _count    int8 := coalesce(nullif(current_setting(_setting, true), ''), '0')::int8 + 1;
begin
    if _count > i_limit then
        raise exception 'Queue ''%'' allows max % events from one TX', i_queue_name, i_limit
              using errcode = 'internal_error';
    end if;
    perform set_config(_setting, _count::text, true);
end;
$$;

-- Refuses a repeatable read or serializable transaction that is older than a
-- whole rotation: what it sees of pgq.queue may name a table that nobody reads
-- any more, and the event would be lost. Younger ones are safe, because readers
-- always look into the previous table too.
create or replace function pgq._check_age(i_queue_name text, i_rotation_period interval)
returns void
language plpgsql
as $$
begin
    if clock_timestamp() > now() + greatest(i_rotation_period, interval '10 minutes') then
        raise exception 'transaction is too old to write to queue %', i_queue_name
              using errcode = 'serialization_failure',
                    detail = format('Its snapshot is older than the rotation period of %s.', i_rotation_period),
                    hint = 'Try the transaction again, or use read committed.';
    end if;
end;
$$;

-- Writes one event as given and returns its id. Null ev_id means the next one,
-- null ev_time now. The event sequence advances in every case, even when the
-- event is refused: the ticker knows by it that something happened.
create or replace function pgq.insert_event_raw(
    queue_name text, ev_id int8, ev_time timestamptz, ev_owner int4, ev_retry int4, ev_type text,
    ev_data text, ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text)
returns int8
language plpgsql
as $$
declare
    _queue  record;
    _id     int8;
begin
    select q.queue_id, q.queue_disable_insert, q.queue_per_tx_limit, q.queue_rotation_period,
           nextval(q.queue_event_seq) as next_id,
           format('%I.%I', split_part(q.queue_data_pfx, '.', 1),
                  split_part(q.queue_data_pfx, '.', 2) || '_' || q.queue_cur_table) as table_name
      into _queue
      from pgq.queue q
     where q.queue_name = insert_event_raw.queue_name;
    if not found then
        raise exception '%', case when queue_name is null then 'Queue name must not be NULL'
                                  else 'No such queue' end
              using errcode = 'internal_error', detail = format('queue: %s', queue_name);
    end if;
    if _queue.queue_disable_insert and not pgq._is_replaying(queue_name) then
        raise exception 'Insert into queue disallowed' using errcode = 'internal_error';
    end if;
    if _queue.queue_per_tx_limit is not null then
        perform pgq._count_event(_queue.queue_id, queue_name, _queue.queue_per_tx_limit);
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        perform pgq._check_age(queue_name, _queue.queue_rotation_period);
    end if;

    _id := coalesce(ev_id, _queue.next_id);
    execute 'insert into ' || _queue.table_name
         || ' (ev_id, ev_time, ev_owner, ev_retry, ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4)'
         || ' values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)'
      using _id, coalesce(ev_time, now()), ev_owner, ev_retry, ev_type, ev_data,
            ev_extra1, ev_extra2, ev_extra3, ev_extra4;
    return _id;
end;
$$;

-- Writes one event and returns its id.
create or replace function pgq.insert_event(
    queue_name text, ev_type text, ev_data text,
    ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text)
returns int8
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return pgq.insert_event_raw(queue_name, null, now(), null, null, ev_type, ev_data,
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
