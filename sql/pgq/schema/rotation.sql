-- Rotation of the data tables. Source: contract/pgq.md 4.7, 4.4.

-- Switches a queue to its next table, emptied, when its period is over and no
-- consumer needs what was in there. Returns 0: there is no reason to call again
-- at once. Must be followed by step 2 in a later transaction.
create or replace function pgq.maint_rotate_tables_step1(i_queue_name text)
returns int4
language plpgsql
as $$
declare
    _queue   pgq.queue;
    _lowest  int8;
    _needed  int8;
    _prev    int4;
    _next    int4;
    _late    bool;
begin
    select * into _queue
      from pgq.queue
     where queue_name = i_queue_name
       and queue_switch_step2 is not null
       and queue_switch_time + queue_rotation_period < now()
       for update;
    if not found then
        return 0;
    end if;
    if txid_current() < _queue.queue_switch_step1 then
        raise exception 'queue % maint failure: step1=%, current=%',
                        i_queue_name, _queue.queue_switch_step1, txid_current();
    end if;

    select min(sub_last_tick) into _lowest from pgq.subscription where sub_queue = _queue.queue_id;
    if _lowest is not null then
        select txid_snapshot_xmin(tick_snapshot) into _needed
          from pgq.tick where tick_queue = _queue.queue_id and tick_id = _lowest;
        if not found then
            raise exception 'queue % maint failure: tick % not found', i_queue_name, _lowest;
        end if;
        if _needed <= _queue.queue_switch_step2 then
            return 0;
        end if;
    end if;

    _next := (_queue.queue_cur_table + 1) % _queue.queue_ntables;
    _prev := (_queue.queue_cur_table + _queue.queue_ntables - 1) % _queue.queue_ntables;
    begin
        execute format('lock table %s in access exclusive mode nowait',
                       pgq.quote_fqname(_queue.queue_data_pfx || '_' || _next));
        -- From now on nobody reads the previous table. Whoever still writes to it
        -- looked at the queue before the last rotation and must end first.
        execute format('lock table %s in share mode nowait',
                       pgq.quote_fqname(_queue.queue_data_pfx || '_' || _prev));
    exception
        when lock_not_available then
            return 0;
    end;
    if _needed is not null then
        execute format('select exists (select 1 from %s where ev_txid >= $1)',
                       pgq.quote_fqname(_queue.queue_data_pfx || '_' || _prev))
           into _late using _needed;
        if _late then
            return 0;
        end if;
    end if;

    execute format('truncate %s', pgq.quote_fqname(_queue.queue_data_pfx || '_' || _next));
    update pgq.queue
       set queue_cur_table = _next,
           queue_switch_time = now(),
           queue_switch_step1 = txid_current(),
           queue_switch_step2 = null
     where queue_id = _queue.queue_id;

    -- Ticks live one rotation longer than their events are needed, so that
    -- consumers can be moved back that far.
    delete from pgq.tick
     where tick_queue = _queue.queue_id
       and txid_snapshot_xmin(tick_snapshot) < _queue.queue_switch_step2;
    return 0;
end;
$$;

-- Ends the rotations that step 1 began, in a transaction of its own. Returns 0.
create or replace function pgq.maint_rotate_tables_step2()
returns int4
language plpgsql
as $$
begin
    update pgq.queue set queue_switch_step2 = txid_current() where queue_switch_step2 is null;
    return 0;
end;
$$;
