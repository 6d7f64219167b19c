-- Subscribing. Source: contract/pgq.md 2.3.

-- Registers a consumer that starts at the newest tick. Returns 1, or 0 when it
-- is registered already.
create or replace function pgq.register_consumer(x_queue_name text, x_consumer_id text)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return pgq.register_consumer_at(x_queue_name, x_consumer_id, null);
end;
$$;

-- Registers a consumer that starts at x_tick_pos, or moves a registered one
-- there, which drops its active batch. Returns 1 for new, 0 for registered before.
create or replace function pgq.register_consumer_at(x_queue_name text, x_consumer_name text, x_tick_pos int8)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _queue_id     int4;
    _consumer_id  int4;
    _tick_id      int8;
begin
    select queue_id into _queue_id from pgq.queue where queue_name = x_queue_name;
    if not found then
        raise exception 'Event queue not created yet';
    end if;

    insert into pgq.consumer (co_name) values (x_consumer_name) on conflict (co_name) do nothing;
    select co_id into _consumer_id from pgq.consumer where co_name = x_consumer_name for update;

    if x_tick_pos is not null then
        perform 1 from pgq.tick where tick_queue = _queue_id and tick_id = x_tick_pos;
        if not found then
            raise exception 'cannot reposition, tick not found: %', x_tick_pos;
        end if;
    end if;

    -- The lock on the consumer keeps a second registration of it away.
    perform 1 from pgq.subscription where sub_queue = _queue_id and sub_consumer = _consumer_id for update;
    if found then
        if x_tick_pos is not null then
            update pgq.subscription
               set sub_last_tick = x_tick_pos, sub_batch = null, sub_next_tick = null, sub_active = now()
             where sub_queue = _queue_id and sub_consumer = _consumer_id;
        end if;
        return 0;
    end if;

    _tick_id := coalesce(x_tick_pos, (select max(tick_id) from pgq.tick where tick_queue = _queue_id));
    if _tick_id is null then
        raise exception 'No ticks for this queue. Please run ticker on database.';
    end if;
    insert into pgq.subscription (sub_queue, sub_consumer, sub_last_tick)
    values (_queue_id, _consumer_id, _tick_id);
    return 1;
end;
$$;

-- Says whether a subscription is a member of a cooperative consumer: it shares
-- the sub_id of the consumer whose name comes before its own and a dot.
-- Source: contract/pgq.md 1.4.
create or replace function pgq._is_member(i_queue_id int4, i_sub_id int4, i_consumer_id int4)
returns bool
language sql stable
as $$
    select exists (
        select 1
          from pgq.subscription s
          join pgq.consumer main on main.co_id = s.sub_consumer
          join pgq.consumer self on self.co_id = i_consumer_id
         where s.sub_queue = i_queue_id
           and s.sub_id = i_sub_id
           and s.sub_consumer <> i_consumer_id
           and starts_with(self.co_name, main.co_name || '.'));
$$;

-- Removes a consumer with its members and its retried events, or one member
-- alone. Returns the number of subscriptions removed, 0 for an unknown one.
create or replace function pgq.unregister_consumer(x_queue_name text, x_consumer_name text)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _sub       record;
    _removed   int4[];
begin
    select s.sub_queue, s.sub_id, s.sub_consumer
      into _sub
      from pgq.subscription s
      join pgq.queue q on q.queue_id = s.sub_queue
      join pgq.consumer c on c.co_id = s.sub_consumer
     where q.queue_name = x_queue_name
       and c.co_name = x_consumer_name
       for update of s, c;
    if not found then
        return 0;
    end if;

    if pgq._is_member(_sub.sub_queue, _sub.sub_id, _sub.sub_consumer) then
        delete from pgq.subscription where sub_queue = _sub.sub_queue and sub_consumer = _sub.sub_consumer;
        _removed := array[_sub.sub_consumer];
    else
        delete from pgq.retry_queue where ev_queue = _sub.sub_queue and ev_owner = _sub.sub_id;
        with gone as (
            delete from pgq.subscription
             where sub_queue = _sub.sub_queue and sub_id = _sub.sub_id
            returning sub_consumer)
        select array_agg(sub_consumer) into _removed from gone;
    end if;

    delete from pgq.consumer c
     where c.co_id = any (_removed)
       and not exists (select 1 from pgq.subscription s where s.sub_consumer = c.co_id);
    return cardinality(_removed);
end;
$$;
