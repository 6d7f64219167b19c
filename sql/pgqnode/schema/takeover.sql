-- Turns a root into a branch, in three steps of one transaction each:
--   1  stops writers and the ticker;
--   2  waits for transactions that still write, makes the last tick and returns it;
--   3  after the new root has that tick: this node is a branch of the new provider.
-- Steps 1 and 2 may be repeated (2 makes a further tick). Step 2 needs READ COMMITTED, as
-- the tick must be taken by a snapshot younger than the lock.
-- Codes: 200; 404 unknown queue; 301 not a root. Raises for a wrong step or order.
-- Source: contract/pgq.md 5, 6.3, 6.8.
create or replace function pgq_node.demote_root(
    i_queue_name text,
    i_step integer,
    i_new_provider text,
    out ret_code integer,
    out ret_note text,
    out last_tick bigint)
returns record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_type text;
    v_worker text;
    v_stopped boolean;
    v_parent text;
    v_tick_seq text;
    v_event_seq text;
begin
    select n.node_type, n.worker_name,
           q.queue_disable_insert and q.queue_external_ticker,
           q.queue_data_pfx, q.queue_tick_seq, q.queue_event_seq
      into v_type, v_worker, v_stopped, v_parent, v_tick_seq, v_event_seq
      from pgq_node.node_info n
      left join pgq.queue q on q.queue_name = n.queue_name
     where n.queue_name = i_queue_name
       for update of n;
    if not found then
        ret_code := 404;
        ret_note := 'Unknown queue: ' || coalesce(i_queue_name, 'NULL');
        return;
    end if;
    if v_type <> 'root' then
        ret_code := 301;
        ret_note := 'Node is not a root but a ' || v_type;
        return;
    end if;
    if i_step is null or i_step not in (1, 2, 3) then
        raise exception 'incorrect step number: %', i_step;
    end if;
    if i_step > 1 and not v_stopped then
        raise exception 'steps in wrong order: step % before step 1', i_step;
    end if;

    case i_step
    when 1 then
        update pgq.queue
           set queue_disable_insert = true,
               queue_external_ticker = true
         where queue_name = i_queue_name;
        ret_note := 'Step 1: writing stopped for ' || i_queue_name;
    when 2 then
        last_tick := pgq_node._last_tick(i_queue_name, v_parent, v_tick_seq, v_event_seq);
        ret_note := 'Step 2: last tick inserted: ' || last_tick;
    when 3 then
        last_tick := pgq_node._newest_tick(i_queue_name);
        update pgq_node.node_info
           set node_type = 'branch'
         where queue_name = i_queue_name;
        update pgq_node.local_state
           set provider_node = i_new_provider,
               last_tick_id = last_tick,
               uptodate = false
         where queue_name = i_queue_name
           and consumer_name = v_worker;
        ret_note := 'Step 3: node is a branch of ' || i_new_provider;
    end case;
    ret_code := 200;
end;
$$;

-- The last tick of a root that is demoted. Internal: demote_root has locked the node.
--
-- The rest of the transaction may write to the queue that was closed (the originals leave
-- session_replication_role = replica behind). That setting needs a superuser, or from
-- PostgreSQL 15 a GRANT SET; the tick itself does not need it, as an external tick is no
-- event and is not refused by a closed queue. So without the right the step is done too.
create or replace function pgq_node._last_tick(
    i_queue_name text,
    i_parent text,
    i_tick_seq text,
    i_event_seq text)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        raise exception 'the last tick of % needs a READ COMMITTED transaction', i_queue_name;
    end if;

    begin
        perform set_config('session_replication_role', 'replica', true);
    exception
        when insufficient_privilege then
            null;
    end;

    -- Waits for writers, on the data tables too: they inherit from the parent.
    execute 'lock table ' || pgq.quote_fqname(i_parent) || ' in exclusive mode';

    return pgq.ticker(
        i_queue_name,
        nextval(pgq.quote_fqname(i_tick_seq)::regclass),
        now(),
        nextval(pgq.quote_fqname(i_event_seq)::regclass));
end;
$$;

-- Turns a branch into the root: opens its queue and lets it tick, from the newest tick on.
-- Codes: 200; 404 unknown queue; 301 not a branch. Source: contract/pgq.md 5, 6.3.
create or replace function pgq_node.promote_branch(
    i_queue_name text,
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
    v_worker text;
    v_tick bigint;
begin
    select n.node_type, n.node_name, n.worker_name
      into v_type, v_node, v_worker
      from pgq_node.node_info n
     where n.queue_name = i_queue_name
       for update;
    if not found then
        ret_code := 404;
        ret_note := 'Unknown queue: ' || coalesce(i_queue_name, 'NULL');
        return;
    end if;
    if v_type <> 'branch' then
        ret_code := 301;
        ret_note := 'Node is not a branch but a ' || v_type;
        return;
    end if;

    v_tick := pgq_node._newest_tick(i_queue_name);

    update pgq.queue
       set queue_disable_insert = false,
           queue_external_ticker = false
     where queue_name = i_queue_name;
    perform pgq.seq_setval(q.queue_tick_seq, v_tick)
       from pgq.queue q
      where q.queue_name = i_queue_name;

    update pgq_node.node_info
       set node_type = 'root'
     where queue_name = i_queue_name;
    update pgq_node.local_state
       set provider_node = v_node,
           last_tick_id = v_tick,
           uptodate = false
     where queue_name = i_queue_name
       and consumer_name = v_worker;

    ret_code := 200;
    ret_note := 'Branch promoted to root';
end;
$$;
