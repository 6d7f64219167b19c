-- Cooperative consumers: several workers share one consumer, and each batch goes
-- to one of them. A member is an ordinary consumer called <consumer>.<member>
-- whose subscription shares the sub_id of the main one. The main subscription
-- holds the position and moves on as soon as a batch is handed out; a member has
-- ticks only while it works on a batch. Source: contract/pgq.md 1.4, 3.1.

create schema if not exists pgq_coop;

-- Version of this schema.
create or replace function pgq_coop.version()
returns text
language sql stable
as $$
    select '3.5'::text;
$$;

-- Registers a member, and its main consumer when that is missing. Returns 1, or
-- 0 when the member is registered already.
create or replace function pgq_coop.register_subconsumer(i_queue_name text, i_consumer_name text, i_subconsumer_name text)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _main  record;
begin
    perform pgq.register_consumer(i_queue_name, i_consumer_name);
    select s.sub_queue, s.sub_id
      into _main
      from pgq.subscription s
      join pgq.queue q on q.queue_id = s.sub_queue
      join pgq.consumer c on c.co_id = s.sub_consumer
     where q.queue_name = i_queue_name
       and c.co_name = i_consumer_name
       for update of s;
    if pgq.register_consumer(i_queue_name, i_consumer_name || '.' || i_subconsumer_name) = 0 then
        return 0;
    end if;
    update pgq.subscription s
       set sub_id = _main.sub_id, sub_last_tick = null, sub_next_tick = null
      from pgq.consumer c
     where s.sub_queue = _main.sub_queue
       and s.sub_consumer = c.co_id
       and c.co_name = i_consumer_name || '.' || i_subconsumer_name;
    return 1;
end;
$$;

-- Removes a member. With i_batch_handling 1 its open batch is dropped and not
-- delivered again; otherwise it must have none. Returns 1, or 0 for an unknown one.
create or replace function pgq_coop.unregister_subconsumer(
    i_queue_name text, i_consumer_name text, i_subconsumer_name text, i_batch_handling int4)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _member  record;
begin
    select s.sub_queue, s.sub_consumer, s.sub_batch
      into _member
      from pgq.subscription s
      join pgq.queue q on q.queue_id = s.sub_queue
      join pgq.consumer c on c.co_id = s.sub_consumer
     where q.queue_name = i_queue_name
       and c.co_name = i_consumer_name || '.' || i_subconsumer_name
       for update of s;
    if not found then
        return 0;
    end if;
    if _member.sub_batch is not null and i_batch_handling is distinct from 1 then
        raise exception 'subconsumer has active batch';
    end if;
    perform pgq_coop._remove_member(_member.sub_queue, _member.sub_consumer);
    return 1;
end;
$$;

-- Removes the subscription of a member, and its name when nothing else has it.
create or replace function pgq_coop._remove_member(i_queue_id int4, i_consumer_id int4)
returns void
language plpgsql
as $$
begin
    delete from pgq.subscription where sub_queue = i_queue_id and sub_consumer = i_consumer_id;
    delete from pgq.consumer c
     where c.co_id = i_consumer_id
       and not exists (select 1 from pgq.subscription s where s.sub_consumer = c.co_id);
end;
$$;

-- Opens the next batch of the consumer for one member, or returns the one that
-- the member has open. Null: nothing to do.
create or replace function pgq_coop.next_batch(i_queue_name text, i_consumer_name text, i_subconsumer_name text)
returns int8
language plpgsql
as $$
begin
    return pgq_coop.next_batch_custom(i_queue_name, i_consumer_name, i_subconsumer_name, null, null, null, null);
end;
$$;

-- The same, taking over from a member that was not seen for i_dead_interval.
create or replace function pgq_coop.next_batch(
    i_queue_name text, i_consumer_name text, i_subconsumer_name text, i_dead_interval interval)
returns int8
language plpgsql
as $$
begin
    return pgq_coop.next_batch_custom(i_queue_name, i_consumer_name, i_subconsumer_name, null, null, null, i_dead_interval);
end;
$$;

-- As next_batch, for batches as pgq.next_batch_custom makes them.
create or replace function pgq_coop.next_batch_custom(
    i_queue_name text, i_consumer_name text, i_subconsumer_name text,
    i_min_lag interval, i_min_count int4, i_min_interval interval)
returns int8
language plpgsql
as $$
begin
    return pgq_coop.next_batch_custom(i_queue_name, i_consumer_name, i_subconsumer_name,
                                      i_min_lag, i_min_count, i_min_interval, null);
end;
$$;

-- The same, taking over from a member that was not seen for i_dead_interval. The
-- lock on the main subscription lets one member at a time choose. Asking is a
-- sign of life, even when there is nothing to do.
create or replace function pgq_coop.next_batch_custom(
    i_queue_name text, i_consumer_name text, i_subconsumer_name text,
    i_min_lag interval, i_min_count int4, i_min_interval interval, i_dead_interval interval)
returns int8
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _main    record;
    _member  record;
    _dead    record;
    _batch   record;
begin
    loop
        select s.sub_queue, s.sub_id, s.sub_consumer, s.sub_next_tick
          into _main
          from pgq.subscription s
          join pgq.queue q on q.queue_id = s.sub_queue
          join pgq.consumer c on c.co_id = s.sub_consumer
         where q.queue_name = i_queue_name
           and c.co_name = i_consumer_name
           for update of s;
        exit when found;
        perform pgq_coop.register_subconsumer(i_queue_name, i_consumer_name, i_subconsumer_name);
    end loop;
    if _main.sub_next_tick is not null then
        raise exception 'main consumer has batch open?';
    end if;

    loop
        select s.sub_consumer, s.sub_batch
          into _member
          from pgq.subscription s
          join pgq.consumer c on c.co_id = s.sub_consumer
         where s.sub_queue = _main.sub_queue
           and s.sub_id = _main.sub_id
           and c.co_name = i_consumer_name || '.' || i_subconsumer_name;
        exit when found;
        perform pgq_coop.register_subconsumer(i_queue_name, i_consumer_name, i_subconsumer_name);
    end loop;
    update pgq.subscription
       set sub_active = now()
     where sub_queue = _main.sub_queue and sub_consumer = _member.sub_consumer;
    if _member.sub_batch is not null then
        return _member.sub_batch;
    end if;

    if i_dead_interval is not null then
        select s.sub_consumer, s.sub_batch, s.sub_last_tick, s.sub_next_tick
          into _dead
          from pgq.subscription s
         where s.sub_queue = _main.sub_queue
           and s.sub_id = _main.sub_id
           and s.sub_consumer not in (_main.sub_consumer, _member.sub_consumer)
           and s.sub_active < now() - i_dead_interval
         order by s.sub_batch is null, s.sub_active
         limit 1
           for update;
        if found then
            perform pgq_coop._remove_member(_main.sub_queue, _dead.sub_consumer);
            if _dead.sub_batch is not null then
                update pgq.subscription
                   set sub_batch = _dead.sub_batch,
                       sub_last_tick = _dead.sub_last_tick,
                       sub_next_tick = _dead.sub_next_tick
                 where sub_queue = _main.sub_queue and sub_consumer = _member.sub_consumer;
                return _dead.sub_batch;
            end if;
        end if;
    end if;

    select b.batch_id, b.prev_tick_id, b.cur_tick_id
      into _batch
      from pgq.next_batch_custom(i_queue_name, i_consumer_name, i_min_lag, i_min_count, i_min_interval) b;
    if _batch.batch_id is null then
        return null;
    end if;
    update pgq.subscription
       set sub_last_tick = _batch.cur_tick_id, sub_next_tick = null, sub_batch = null, sub_active = now()
     where sub_queue = _main.sub_queue and sub_consumer = _main.sub_consumer;
    update pgq.subscription
       set sub_last_tick = _batch.prev_tick_id, sub_next_tick = _batch.cur_tick_id, sub_batch = _batch.batch_id
     where sub_queue = _main.sub_queue and sub_consumer = _member.sub_consumer;
    return _batch.batch_id;
end;
$$;

-- Closes a batch. Returns 1, or 0 and a warning for an unknown one. The batch of
-- a consumer that is no member is closed as pgq.finish_batch does it.
create or replace function pgq_coop.finish_batch(i_batch_id int8)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform 1 from pgq.subscription where sub_batch = i_batch_id;
    if not found then
        raise warning 'coop_finish_batch: batch % not found', i_batch_id;
        return 0;
    end if;
    return pgq.finish_batch(i_batch_id);
end;
$$;
