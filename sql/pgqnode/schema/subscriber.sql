-- Lets another node read from this one: its worker at the given tick, or at the global
-- watermark, and a consumer ".<node>.watermark" at the global watermark, which keeps what
-- the nodes below still need. Consumers that exist are moved there.
-- Codes: 200; 404 unknown queue; 401 this node is a leaf. Raises when the node is a
-- subscriber already, its location is unknown or the tick is gone.
-- Source: contract/pgq.md 5, 6.1.
create or replace function pgq_node.register_subscriber(
    i_queue_name text,
    i_remote_node_name text,
    i_remote_worker_name text,
    i_custom_tick_id bigint,
    out ret_code integer,
    out ret_note text,
    out global_watermark bigint)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_type text;
    v_watermark_name text := '.' || i_remote_node_name || '.watermark';
begin
    select n.node_type into v_type
      from pgq_node.node_info n
     where n.queue_name = i_queue_name
       for update;
    if not found then
        ret_code := 404;
        ret_note := 'Unknown queue: ' || coalesce(i_queue_name, 'NULL');
        return;
    end if;
    if v_type = 'leaf' then
        ret_code := 401;
        ret_note := 'A leaf has no subscribers: ' || i_queue_name;
        return;
    end if;

    select c.last_tick into global_watermark
      from pgq.get_consumer_info(i_queue_name, '.global_watermark') c;

    perform pgq.register_consumer_at(i_queue_name, v_watermark_name, global_watermark);
    perform pgq.register_consumer_at(
        i_queue_name, i_remote_worker_name, coalesce(i_custom_tick_id, global_watermark));

    insert into pgq_node.subscriber_info (queue_name, subscriber_node, worker_name, watermark_name)
    values (i_queue_name, i_remote_node_name, i_remote_worker_name, v_watermark_name);

    ret_code := 200;
    ret_note := 'Subscriber registered: ' || i_remote_node_name;
end;
$$;

-- Ends a node's subscription: its row, then its two consumers, in the order that the
-- foreign keys to pgq.consumer need. Codes: 200; 304 no such subscriber.
-- Source: contract/pgq.md 5, 1.3.
create or replace function pgq_node.unregister_subscriber(
    i_queue_name text,
    i_remote_node_name text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_worker text;
    v_watermark text;
begin
    delete from pgq_node.subscriber_info
     where queue_name = i_queue_name
       and subscriber_node = i_remote_node_name
    returning worker_name, watermark_name
      into v_worker, v_watermark;
    if not found then
        ret_code := 304;
        ret_note := 'Subscriber not found: ' || coalesce(i_queue_name, '?') || '/' || coalesce(i_remote_node_name, '?');
        return;
    end if;

    perform pgq.unregister_consumer(i_queue_name, v_watermark);
    perform pgq.unregister_consumer(i_queue_name, v_worker);

    ret_code := 200;
    ret_note := 'Subscriber unregistered: ' || i_remote_node_name;
end;
$$;

-- The nodes that read from this one, and the oldest tick that each still needs.
-- Source: contract/pgq.md 5.
create or replace function pgq_node.get_subscriber_info(
    i_queue_name text,
    out node_name text,
    out worker_name text,
    out node_watermark bigint)
returns setof record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select s.subscriber_node, s.worker_name, u.sub_last_tick
      from pgq_node.subscriber_info s
      left join pgq.queue q on q.queue_name = s.queue_name
      left join pgq.consumer c on c.co_name = s.watermark_name
      left join pgq.subscription u on u.sub_queue = q.queue_id and u.sub_consumer = c.co_id
     where s.queue_name = i_queue_name
     order by s.subscriber_node;
end;
$$;

-- Moves a subscriber's watermark forward.
-- Codes: 200 moved; 100 is there already; 404 no such subscriber; 405 would move back.
-- Raises when the tick does not exist. Source: contract/pgq.md 5, 6.4.
create or replace function pgq_node.set_subscriber_watermark(
    i_queue_name text,
    i_node_name text,
    i_watermark bigint,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name text;
    v_current bigint;
begin
    select s.watermark_name into v_name
      from pgq_node.subscriber_info s
     where s.queue_name = i_queue_name
       and s.subscriber_node = i_node_name
       for update;
    if not found then
        ret_code := 404;
        ret_note := 'Node is not subscribed to the queue: '
            || coalesce(i_queue_name, '?') || '/' || coalesce(i_node_name, '?');
        return;
    end if;

    select c.last_tick into v_current
      from pgq.get_consumer_info(i_queue_name, v_name) c;
    if i_watermark < v_current then
        ret_code := 405;
        ret_note := 'Watermark must not move back: ' || v_name || ' is at ' || v_current || ', asked ' || i_watermark;
        return;
    end if;
    if i_watermark = v_current then
        ret_code := 100;
        ret_note := 'Watermark is there already: ' || v_name;
        return;
    end if;

    perform pgq.register_consumer_at(i_queue_name, v_name, i_watermark);
    ret_code := 200;
    ret_note := v_name || ' set to ' || coalesce(i_watermark::text, 'NULL');
end;
$$;
