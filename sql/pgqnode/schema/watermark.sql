-- Moves the tick that every node of the cascade has passed. The root computes it (NULL: its
-- local watermark) and tells the others by an event; a branch moves its own copy, if it has
-- the tick; a leaf keeps none.
-- Codes: 200; 100 leaf, ignored; 404 unknown queue; 500 NULL on a branch.
-- Source: contract/pgq.md 5, 6.4, 6.5.
create or replace function pgq_node.set_global_watermark(
    i_queue_name text,
    i_watermark bigint,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_type text;
    v_worker text;
    v_watermark bigint := i_watermark;
begin
    select n.node_type, n.worker_name into v_type, v_worker
      from pgq_node.node_info n
     where n.queue_name = i_queue_name
       for update;
    if not found then
        ret_code := 404;
        ret_note := 'Unknown queue: ' || coalesce(i_queue_name, 'NULL');
        return;
    end if;
    if v_type = 'leaf' then
        ret_code := 100;
        ret_note := 'A leaf keeps no global watermark, ignored';
        return;
    end if;
    if v_type = 'branch' then
        if v_watermark is null then
            ret_code := 500;
            ret_note := 'A branch needs a given watermark';
            return;
        end if;
        if not exists (
            select 1
              from pgq.queue q
              join pgq.tick t on t.tick_queue = q.queue_id
             where q.queue_name = i_queue_name
               and t.tick_id = v_watermark)
        then
            ret_code := 200;
            ret_note := 'Skipping global watermark update to ' || v_watermark || ': no such tick here';
            return;
        end if;
    end if;

    if v_watermark is null then
        select i.local_watermark into v_watermark
          from pgq_node.get_node_info(i_queue_name) i;
    end if;

    perform pgq.register_consumer_at(i_queue_name, '.global_watermark', v_watermark);

    if v_type = 'root' then
        perform pgq.insert_event(
            i_queue_name, 'pgq.global-watermark', v_watermark::text,
            i_queue_name, null, null, null);
        update pgq_node.local_state
           set last_tick_id = v_watermark
         where queue_name = i_queue_name
           and consumer_name = v_worker;
    end if;

    ret_code := 200;
    ret_note := 'Global watermark set to ' || v_watermark;
end;
$$;

-- On a combined branch: moves the waiting worker of the leaf that is merged into it to
-- where the combined root has applied that part.
-- Codes: 200; 201 no such leaf here, or the combined queue is no branch; 401 no worker row.
-- Source: contract/pgq.md 5, 6.4.
create or replace function pgq_node.set_partition_watermark(
    i_combined_queue_name text,
    i_part_queue_name text,
    i_watermark bigint,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_worker text;
begin
    select l.worker_name into v_worker
      from pgq_node.node_info l
      join pgq_node.node_info b on b.queue_name = l.combined_queue
     where l.queue_name = i_part_queue_name
       and l.node_type = 'leaf'
       and b.queue_name = i_combined_queue_name
       and b.node_type = 'branch';
    if not found then
        ret_code := 201;
        ret_note := 'No leaf ' || coalesce(i_part_queue_name, '?') || ' is merged into a branch '
            || coalesce(i_combined_queue_name, '?') || ' here';
        return;
    end if;

    update pgq_node.local_state
       set last_tick_id = i_watermark
     where queue_name = i_part_queue_name
       and consumer_name = v_worker;
    if not found then
        ret_code := 401;
        ret_note := 'Worker is not registered: ' || v_worker;
        return;
    end if;
    ret_code := 200;
    ret_note := 'Partition watermark set to ' || i_watermark;
end;
$$;

-- Called by the maintenance for each root's queue: publishes the global watermark when
-- nobody did for five minutes. Always 0. Source: contract/pgq.md 5, 4.8.
create or replace function pgq_node.maint_watermark(i_queue_name text)
returns integer
language plpgsql
as $$
begin
    perform 1
       from pgq_node.node_info n
      where n.queue_name = i_queue_name
        and n.node_type = 'root'
        for update;
    if not found then
        return 0;
    end if;

    if (select c.lag >= interval '5 minutes'
          from pgq.get_consumer_info(i_queue_name, '.global_watermark') c)
    then
        perform pgq_node.set_global_watermark(i_queue_name, null);
    end if;
    return 0;
end;
$$;
