-- Stores where a node is reached, or that it is dead. A location of NULL keeps the one
-- known, and stores nothing when none is. On the root the change travels to every node as
-- an event, stored or not: a node below may know the location that the root does not.
-- Codes: 200. Source: contract/pgq.md 5, 6.5.
create or replace function pgq_node.register_location(
    i_queue_name text,
    i_node_name text,
    i_node_location text,
    i_dead boolean,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_type text;
begin
    select node_type into v_type
      from pgq_node.node_info
     where queue_name = i_queue_name
       for update;

    update pgq_node.node_location
       set node_location = coalesce(i_node_location, node_location),
           dead = coalesce(i_dead, dead)
     where queue_name = i_queue_name
       and node_name = i_node_name;

    if not found and i_node_location is not null then
        insert into pgq_node.node_location (queue_name, node_name, node_location, dead)
        values (i_queue_name, i_node_name, i_node_location, coalesce(i_dead, false))
        on conflict (queue_name, node_name) do update
           set node_location = excluded.node_location,
               dead = excluded.dead;
    end if;

    if v_type = 'root' then
        perform pgq.insert_event(
            i_queue_name, 'pgq.location-info', i_node_name,
            i_queue_name, i_node_location, coalesce(i_dead, false)::text, null);
    end if;

    ret_code := 200;
    ret_note := 'Location registered';
end;
$$;

-- Forgets a node that is neither this one nor its provider, with its subscription here.
-- Codes: 200; 301 not known (the root still tells the others); 403 own node or provider.
-- Consumers that read from that node keep it: foreign key violation.
-- Source: contract/pgq.md 5, 6.5.
create or replace function pgq_node.unregister_location(
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
    v_type text;
    v_node text;
    v_provider text;
begin
    select i.node_type, i.node_name, s.provider_node
      into v_type, v_node, v_provider
      from pgq_node.node_info i
      left join pgq_node.local_state s
        on s.queue_name = i.queue_name and s.consumer_name = i.worker_name
     where i.queue_name = i_queue_name
       for update of i;

    if i_node_name = v_node then
        ret_code := 403;
        ret_note := 'Cannot unregister the location of the node itself: ' || i_node_name;
        return;
    end if;
    if i_node_name = v_provider then
        ret_code := 403;
        ret_note := 'Cannot unregister the location of the provider: ' || i_node_name;
        return;
    end if;

    perform pgq_node.unregister_subscriber(i_queue_name, i_node_name);

    delete from pgq_node.node_location
     where queue_name = i_queue_name
       and node_name = i_node_name;
    if found then
        ret_code := 200;
        ret_note := 'Location unregistered';
    else
        ret_code := 301;
        ret_note := 'Location not found: ' || coalesce(i_queue_name, '?') || '/' || coalesce(i_node_name, '?');
    end if;

    if v_type = 'root' then
        perform pgq.insert_event(
            i_queue_name, 'pgq.unregister-location', i_node_name,
            i_queue_name, null, null, null);
    end if;
end;
$$;

-- Every node of the queue that this one knows of, itself included.
-- Source: contract/pgq.md 5.
create or replace function pgq_node.get_queue_locations(
    i_queue_name text,
    out node_name text,
    out node_location text,
    out dead boolean)
returns setof record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select l.node_name, l.node_location, l.dead
      from pgq_node.node_location l
     where l.queue_name = i_queue_name
     order by l.node_name;
end;
$$;
