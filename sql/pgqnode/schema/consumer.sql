-- Starts to keep a cascaded consumer's position here. One that exists gets the provider
-- and the position overwritten. Codes: 200 new; 201 existing; 404 unknown queue. An unknown
-- provider violates a foreign key. Source: contract/pgq.md 5.
create or replace function pgq_node.register_consumer(
    i_queue_name text,
    i_consumer_name text,
    i_provider_node text,
    i_custom_tick_id bigint,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform 1 from pgq_node.node_info where queue_name = i_queue_name for update;
    if not found then
        ret_code := 404;
        ret_note := 'Unknown queue: ' || coalesce(i_queue_name, 'NULL');
        return;
    end if;

    update pgq_node.local_state
       set provider_node = i_provider_node,
           last_tick_id = i_custom_tick_id
     where queue_name = i_queue_name
       and consumer_name = i_consumer_name;
    if found then
        ret_code := 201;
        ret_note := 'Consumer is registered already: ' || i_consumer_name;
        return;
    end if;

    insert into pgq_node.local_state (queue_name, consumer_name, provider_node, last_tick_id)
    values (i_queue_name, i_consumer_name, i_provider_node, i_custom_tick_id);
    ret_code := 200;
    ret_note := 'Consumer registered: ' || i_consumer_name;
end;
$$;

-- Forgets a cascaded consumer's position. Codes: 200, also when there is none; 404 unknown
-- queue. Source: contract/pgq.md 5.
create or replace function pgq_node.unregister_consumer(
    i_queue_name text,
    i_consumer_name text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform 1 from pgq_node.node_info where queue_name = i_queue_name for update;
    if not found then
        ret_code := 404;
        ret_note := 'Unknown queue: ' || coalesce(i_queue_name, 'NULL');
        return;
    end if;

    delete from pgq_node.local_state
     where queue_name = i_queue_name
       and consumer_name = i_consumer_name;
    ret_code := 200;
    ret_note := 'Consumer unregistered: ' || coalesce(i_consumer_name, 'NULL');
end;
$$;

-- The cascaded consumers of this node by name. Source: contract/pgq.md 5.
create or replace function pgq_node.get_consumer_info(
    i_queue_name text,
    out consumer_name text,
    out provider_node text,
    out last_tick_id bigint,
    out paused boolean,
    out uptodate boolean,
    out cur_error text)
returns setof record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select s.consumer_name, s.provider_node, s.last_tick_id, s.paused, s.uptodate, s.cur_error
      from pgq_node.local_state s
     where s.queue_name = i_queue_name
     order by s.consumer_name;
end;
$$;

-- What a cascaded consumer needs to know before each batch.
-- Codes: 100; 404 queue, consumer or its provider's location unknown.
-- Source: contract/pgq.md 5, 6.7.
create or replace function pgq_node.get_consumer_state(
    i_queue_name text,
    i_consumer_name text,
    out ret_code integer,
    out ret_note text,
    out node_type text,
    out node_name text,
    out completed_tick bigint,
    out provider_node text,
    out provider_location text,
    out paused boolean,
    out uptodate boolean,
    out cur_error text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    ret_code := 404;

    select n.node_type, n.node_name
      into node_type, node_name
      from pgq_node.node_info n
     where n.queue_name = i_queue_name;
    if not found then
        ret_note := 'Unknown queue: ' || coalesce(i_queue_name, 'NULL');
        return;
    end if;

    select s.last_tick_id, s.provider_node, s.paused, s.uptodate, s.cur_error
      into completed_tick, provider_node, paused, uptodate, cur_error
      from pgq_node.local_state s
     where s.queue_name = i_queue_name
       and s.consumer_name = i_consumer_name;
    if not found then
        ret_note := 'Unknown consumer: ' || i_queue_name || '/' || coalesce(i_consumer_name, 'NULL');
        return;
    end if;

    select l.node_location into provider_location
      from pgq_node.node_location l
     where l.queue_name = i_queue_name
       and l.node_name = provider_node;
    if not found then
        ret_note := 'Location of the provider is unknown: ' || i_queue_name || '/' || provider_node;
        return;
    end if;

    ret_code := 100;
    ret_note := 'Ok';
end;
$$;

-- Points a consumer at another provider; it must notice, so uptodate becomes false.
-- Codes: 200; 404 the new provider's location or the consumer is unknown.
-- Source: contract/pgq.md 5.
create or replace function pgq_node.change_consumer_provider(
    i_queue_name text,
    i_consumer_name text,
    i_new_provider text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (
        select 1
          from pgq_node.node_location
         where queue_name = i_queue_name
           and node_name = i_new_provider)
    then
        ret_code := 404;
        ret_note := 'New provider is unknown: ' || coalesce(i_queue_name, '?') || '/' || coalesce(i_new_provider, '?');
        return;
    end if;

    update pgq_node.local_state
       set provider_node = i_new_provider,
           uptodate = false
     where queue_name = i_queue_name
       and consumer_name = i_consumer_name;
    if not found then
        ret_code := 404;
        ret_note := 'Unknown consumer: ' || i_queue_name || '/' || coalesce(i_consumer_name, 'NULL');
        return;
    end if;
    ret_code := 200;
    ret_note := 'Consumer provider changed to: ' || i_new_provider;
end;
$$;

-- The consumer's answer that it has seen the last change of its row.
-- Codes: 200; 404 unknown consumer. Source: contract/pgq.md 5, 6.8.
create or replace function pgq_node.set_consumer_uptodate(
    i_queue_name text,
    i_consumer_name text,
    i_uptodate boolean,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update pgq_node.local_state
       set uptodate = i_uptodate
     where queue_name = i_queue_name
       and consumer_name = i_consumer_name;
    if not found then
        ret_code := 404;
        ret_note := 'Unknown consumer: ' || coalesce(i_queue_name, '?') || '/' || coalesce(i_consumer_name, '?');
        return;
    end if;
    ret_code := 200;
    ret_note := 'Consumer uptodate = ' || i_uptodate::integer::text;
end;
$$;

-- Asks a consumer to pause or go on; it answers by set_consumer_uptodate.
-- Codes: 200 changed; 201 it was so already, uptodate untouched; 404 unknown consumer.
-- Source: contract/pgq.md 5, 6.8.
create or replace function pgq_node.set_consumer_paused(
    i_queue_name text,
    i_consumer_name text,
    i_paused boolean,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_paused boolean;
begin
    select s.paused into v_paused
      from pgq_node.local_state s
     where s.queue_name = i_queue_name
       and s.consumer_name = i_consumer_name
       for update;
    if not found then
        ret_code := 404;
        ret_note := 'Unknown consumer: ' || coalesce(i_queue_name, '?') || '/' || coalesce(i_consumer_name, '?');
        return;
    end if;
    if v_paused = i_paused then
        ret_code := 201;
        ret_note := 'Consumer is ' || case when i_paused then 'paused' else 'resumed' end || ' already';
        return;
    end if;

    update pgq_node.local_state
       set paused = i_paused,
           uptodate = false
     where queue_name = i_queue_name
       and consumer_name = i_consumer_name;
    ret_code := 200;
    ret_note := 'Consumer is told to ' || case when i_paused then 'pause' else 'resume' end;
end;
$$;

-- Stores a finished batch's end tick, in the transaction that applied the batch, and
-- clears the error. Codes: 100; 404 unknown consumer. Source: contract/pgq.md 5, 6.7.
create or replace function pgq_node.set_consumer_completed(
    i_queue_name text,
    i_consumer_name text,
    i_tick_id bigint,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update pgq_node.local_state
       set last_tick_id = i_tick_id,
           cur_error = null
     where queue_name = i_queue_name
       and consumer_name = i_consumer_name;
    if found then
        ret_code := 100;
        ret_note := 'Consumer completed tick ' || i_tick_id;
    else
        ret_code := 404;
        ret_note := 'Unknown consumer: ' || coalesce(i_queue_name, '?') || '/' || coalesce(i_consumer_name, '?');
    end if;
end;
$$;

-- Stores, or with NULL clears, what stops a consumer. An unknown consumer is no error: it
-- may fail before it is registered. Codes: 100; 101 unknown consumer, ignored.
-- Source: contract/pgq.md 5.
create or replace function pgq_node.set_consumer_error(
    i_queue_name text,
    i_consumer_name text,
    i_error_msg text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update pgq_node.local_state
       set cur_error = i_error_msg
     where queue_name = i_queue_name
       and consumer_name = i_consumer_name;
    if found then
        ret_code := 100;
        ret_note := 'Consumer error is now: ' || i_error_msg;
    else
        ret_code := 101;
        ret_note := 'Unknown consumer, ignored: ' || coalesce(i_queue_name, '?') || '/' || coalesce(i_consumer_name, '?');
    end if;
end;
$$;

-- The state of the node's own worker: get_consumer_state and what it needs of the node.
-- combined_queue is the configured name, whether or not it is a node here.
-- Codes: 100; 404. Source: contract/pgq.md 5.
create or replace function pgq_node.get_worker_state(
    i_queue_name text,
    out ret_code integer,
    out ret_note text,
    out node_type text,
    out node_name text,
    out completed_tick bigint,
    out provider_node text,
    out provider_location text,
    out paused boolean,
    out uptodate boolean,
    out cur_error text,
    out worker_name text,
    out global_watermark bigint,
    out local_watermark bigint,
    out local_queue_top bigint,
    out combined_queue text,
    out combined_type text)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_state record;
begin
    select i.ret_code, i.ret_note, i.node_type, i.node_name, i.worker_name,
           i.global_watermark, i.local_watermark
      into ret_code, ret_note, node_type, node_name, worker_name,
           global_watermark, local_watermark
      from pgq_node.get_node_info(i_queue_name) i;
    if ret_code <> 100 then
        return;
    end if;

    select * into v_state
      from pgq_node.get_consumer_state(i_queue_name, worker_name);
    ret_code := v_state.ret_code;
    ret_note := v_state.ret_note;
    completed_tick := v_state.completed_tick;
    provider_node := v_state.provider_node;
    provider_location := v_state.provider_location;
    paused := v_state.paused;
    uptodate := v_state.uptodate;
    cur_error := v_state.cur_error;

    if node_type <> 'leaf' then
        local_queue_top := pgq_node._newest_tick(i_queue_name);
    end if;

    select i.combined_queue, c.node_type
      into combined_queue, combined_type
      from pgq_node.node_info i
      left join pgq_node.node_info c on c.queue_name = i.combined_queue
     where i.queue_name = i_queue_name;
end;
$$;
