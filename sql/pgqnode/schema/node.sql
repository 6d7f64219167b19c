-- Makes this database a node of a cascade. The node's location must be registered first
-- (foreign key violation otherwise), for branch and leaf also the provider's.
-- Codes: 200; 401 is a node already, or arguments that do not go with the type.
-- Source: contract/pgq.md 5, 6.3.
create or replace function pgq_node.create_node(
    i_queue_name text,
    i_node_type text,
    i_node_name text,
    i_worker_name text,
    i_provider_name text,
    i_global_watermark bigint,
    i_combined_queue text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_provider text := i_provider_name;
    v_position bigint := i_global_watermark;
begin
    ret_code := 401;
    if exists (select 1 from pgq_node.node_info where queue_name = i_queue_name) then
        ret_note := 'Node is initialized already';
        return;
    end if;
    if i_node_type is null or i_node_type not in ('root', 'branch', 'leaf') then
        ret_note := 'Unknown node type: ' || coalesce(i_node_type, 'NULL');
        return;
    end if;
    if i_worker_name is null then
        ret_note := 'Worker name is missing';
        return;
    end if;
    if i_node_type = 'root' and num_nonnulls(i_provider_name, i_global_watermark, i_combined_queue) > 0 then
        ret_note := 'A root has no provider, global watermark or combined queue';
        return;
    end if;
    if i_node_type in ('branch', 'leaf') and num_nulls(i_provider_name, i_global_watermark) > 0 then
        ret_note := 'A ' || i_node_type || ' needs a provider and a global watermark';
        return;
    end if;
    if i_node_type = 'branch' and i_combined_queue is not null then
        ret_note := 'A branch has no combined queue';
        return;
    end if;
    if i_combined_queue is not null
        and not exists (select 1 from pgq.queue where queue_name = i_combined_queue)
    then
        ret_note := 'Combined queue does not exist: ' || i_combined_queue;
        return;
    end if;

    if i_node_type = 'root' then
        perform pgq.create_queue(i_queue_name);
        perform pgq.register_consumer(i_queue_name, '.global_watermark');
        select last_tick into v_position
          from pgq.get_consumer_info(i_queue_name, '.global_watermark');
        v_provider := i_node_name;
    elsif i_node_type = 'branch' then
        perform pgq.create_queue(i_queue_name); -- makes tick 1
        update pgq.queue
           set queue_external_ticker = true,
               queue_disable_insert = true
         where queue_name = i_queue_name;
        if i_global_watermark > 1 then
            perform pgq.ticker(i_queue_name, i_global_watermark, now(), 1::bigint);
        end if;
        perform pgq.register_consumer_at(i_queue_name, '.global_watermark', i_global_watermark);
    end if;

    insert into pgq_node.node_info (queue_name, node_type, node_name, worker_name, combined_queue)
    values (i_queue_name, i_node_type, i_node_name, i_worker_name, i_combined_queue);

    insert into pgq_node.local_state (queue_name, consumer_name, provider_node, last_tick_id)
    values (i_queue_name, i_worker_name, v_provider, v_position);

    ret_code := 200;
    ret_note := 'Node "' || i_node_name || '" initialized for queue "' || i_queue_name
        || '" with type "' || i_node_type || '"';
end;
$$;

-- Removes a node: the local one with its queue and everything known of the cascade, or
-- another one with its subscription and location.
-- Codes: 200, also when there is nothing to remove; 405 the node is the local node's provider.
-- Source: contract/pgq.md 5, 6.3.
create or replace function pgq_node.drop_node(
    i_queue_name text,
    i_node_name text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_node text;
    v_provider text;
begin
    select i.node_name, s.provider_node
      into v_node, v_provider
      from pgq_node.node_info i
      left join pgq_node.local_state s
        on s.queue_name = i.queue_name and s.consumer_name = i.worker_name
     where i.queue_name = i_queue_name
       for update of i;

    if v_node is null or v_node = i_node_name then
        delete from pgq_node.subscriber_info where queue_name = i_queue_name;
        delete from pgq_node.local_state where queue_name = i_queue_name;
        delete from pgq_node.node_info where queue_name = i_queue_name;
        -- A queue that is no node is not ours to drop, whatever was asked.
        if v_node is not null
            and exists (select 1 from pgq.queue where queue_name = i_queue_name)
        then
            perform pgq.drop_queue(i_queue_name, true);
        end if;
        delete from pgq_node.node_location
         where queue_name = i_queue_name
           and node_name <> i_node_name;
        perform pgq_node.unregister_location(i_queue_name, i_node_name);
    elsif v_provider = i_node_name then
        ret_code := 405;
        ret_note := 'Node "' || i_node_name || '" is the provider of "' || v_node || '"';
        return;
    else
        perform pgq_node.unregister_subscriber(i_queue_name, i_node_name);
        perform pgq_node.unregister_location(i_queue_name, i_node_name);
    end if;

    ret_code := 200;
    ret_note := 'Node "' || coalesce(i_node_name, '?') || '" dropped';
end;
$$;

-- What this database's node of a queue is and how far it has come.
-- combined_queue is NULL unless that queue is a node here too. target_for lists the
-- queues whose leafs here are merged into this one.
-- Codes: 100; 404 unknown queue, the other columns NULL. Source: contract/pgq.md 5, 6.4.
create or replace function pgq_node.get_node_info(
    i_queue_name text,
    out ret_code integer,
    out ret_note text,
    out node_type text,
    out node_name text,
    out global_watermark bigint,
    out local_watermark bigint,
    out provider_node text,
    out provider_location text,
    out combined_queue text,
    out combined_type text,
    out worker_name text,
    out worker_paused boolean,
    out worker_uptodate boolean,
    out worker_last_tick bigint,
    out node_attrs text,
    out target_for text[])
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    select 100, 'Ok', i.node_type, i.node_name,
           s.provider_node, l.node_location,
           c.queue_name, c.node_type,
           i.worker_name, s.paused, s.uptodate, s.last_tick_id,
           i.node_attrs,
           (select array_agg(p.queue_name order by p.queue_name)
              from pgq_node.node_info p
             where p.combined_queue = i.queue_name)
      into ret_code, ret_note, node_type, node_name,
           provider_node, provider_location,
           combined_queue, combined_type,
           worker_name, worker_paused, worker_uptodate, worker_last_tick,
           node_attrs,
           target_for
      from pgq_node.node_info i
      left join pgq_node.local_state s
        on s.queue_name = i.queue_name and s.consumer_name = i.worker_name
      left join pgq_node.node_location l
        on l.queue_name = s.queue_name and l.node_name = s.provider_node
      left join pgq_node.node_info c
        on c.queue_name = i.combined_queue
     where i.queue_name = i_queue_name;
    if not found then
        ret_code := 404;
        ret_note := 'Unknown queue: ' || coalesce(i_queue_name, 'NULL');
        return;
    end if;

    if node_type = 'leaf' then
        local_watermark := worker_last_tick;
        return;
    end if;

    select min(u.sub_last_tick) filter (where co.co_name <> '.global_watermark'),
           min(u.sub_last_tick) filter (where co.co_name = '.global_watermark')
      into local_watermark, global_watermark
      from pgq.queue q
      join pgq.subscription u on u.sub_queue = q.queue_id
      join pgq.consumer co on co.co_id = u.sub_consumer
     where q.queue_name = i_queue_name;

    local_watermark := coalesce(local_watermark, pgq_node._newest_tick(i_queue_name));
    if node_type = 'root' then
        worker_last_tick := pgq_node._newest_tick(i_queue_name);
    end if;
end;
$$;

-- The newest tick of a queue here; NULL without such a queue. Internal.
create or replace function pgq_node._newest_tick(i_queue_name text)
returns bigint
language sql
stable
strict
set search_path = pg_catalog, pg_temp
as $$
    select t.tick_id
      from pgq.queue q
      join pgq.tick t on t.tick_queue = q.queue_id
     where q.queue_name = i_queue_name
     order by t.tick_queue desc, t.tick_id desc
     limit 1;
$$;

-- Whether the node of a queue here is its root. Raises for an unknown queue.
-- Source: contract/pgq.md 5.
create or replace function pgq_node.is_root_node(i_queue_name text)
returns boolean
language plpgsql
as $$
declare
    v_type text;
begin
    select n.node_type into v_type
      from pgq_node.node_info n
     where n.queue_name = i_queue_name;
    if not found then
        raise exception 'queue does not exist: %', i_queue_name;
    end if;
    return v_type = 'root';
end;
$$;

-- Whether the node of a queue here is a leaf. Raises for an unknown queue.
-- Source: contract/pgq.md 5.
create or replace function pgq_node.is_leaf_node(i_queue_name text)
returns boolean
language plpgsql
as $$
declare
    v_type text;
begin
    select n.node_type into v_type
      from pgq_node.node_info n
     where n.queue_name = i_queue_name;
    if not found then
        raise exception 'queue does not exist: %', i_queue_name;
    end if;
    return v_type = 'leaf';
end;
$$;

-- Stores settings of the node: an urlencoded dictionary, such as sync_watermark=n2,n3.
-- Codes: 200; 404 unknown queue. Source: contract/pgq.md 5.
create or replace function pgq_node.set_node_attrs(
    i_queue_name text,
    i_node_attrs text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update pgq_node.node_info
       set node_attrs = i_node_attrs
     where queue_name = i_queue_name;
    if found then
        ret_code := 200;
        ret_note := 'Node attributes updated';
    else
        ret_code := 404;
        ret_note := 'Unknown queue: ' || coalesce(i_queue_name, 'NULL');
    end if;
end;
$$;
