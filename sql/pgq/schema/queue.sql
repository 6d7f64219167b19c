-- Making, dropping and setting queues. Source: contract/pgq.md 2.1, 1.2.

-- Makes a queue with default settings, its tables, its sequences and its first
-- tick. Returns 1, or 0 when it exists already.
create or replace function pgq.create_queue(i_queue_name text)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _id    int4;
    _name  text;
begin
    if i_queue_name is null then
        raise exception 'Invalid NULL value';
    end if;
    perform pgq._lock_writer();
    if exists (select 1 from pgq.queue where queue_name = i_queue_name) then
        return 0;
    end if;

    _id := nextval('pgq.queue_queue_id_seq');
    _name := 'event_' || _id;
    insert into pgq.queue (queue_id, queue_name, queue_data_pfx, queue_event_seq, queue_tick_seq)
    values (_id, i_queue_name, 'pgq.' || _name, 'pgq.' || _name || '_id_seq', 'pgq.' || _name || '_tick_seq');

    execute format('create sequence pgq.%I', _name || '_id_seq');
    execute format('create sequence pgq.%I', _name || '_tick_seq');
    execute format('create table pgq.%I () inherits (pgq.event_template)', _name);
    for _n in 0 .. (select queue_ntables - 1 from pgq.queue where queue_id = _id) loop
        execute format('create table pgq.%I () inherits (pgq.%I)', _name || '_' || _n, _name);
        execute format('alter table pgq.%I alter column ev_id set default nextval(%L)',
                       _name || '_' || _n, 'pgq.' || _name || '_id_seq');
        execute format('create index %I on pgq.%I (ev_txid)',
                       _name || '_' || _n || '_txid_idx', _name || '_' || _n);
    end loop;

    perform pgq.grant_perms(i_queue_name);
    perform pgq._make_writer(_id);
    perform pgq.ticker(i_queue_name);
    perform pgq.tune_storage(i_queue_name);
    return 1;
end;
$$;

-- Drops a queue and its events. Without x_force it must have neither consumers
-- nor tables that are captured into it; with it they are detached first.
create or replace function pgq.drop_queue(x_queue_name text, x_force bool)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _queue   pgq.queue;
    _tables  text;
    _name    text;
begin
    perform pgq._lock_writer();
    select * into _queue from pgq.queue where queue_name = x_queue_name for update;
    if not found then
        raise exception 'No such event queue';
    end if;

    if x_force then
        for _name in
            select consumer_name from pgq.get_consumer_info(x_queue_name)
        loop
            perform pgq.unregister_consumer(x_queue_name, _name);
        end loop;
        for _name in
            select distinct c.table_name from pgq._captures() c where c.queue_name = x_queue_name
        loop
            perform pgq.drop_capture(x_queue_name, _name);
        end loop;
    end if;

    if exists (select 1 from pgq.subscription where sub_queue = _queue.queue_id) then
        raise exception 'cannot drop queue, consumers still attached';
    end if;
    select string_agg(distinct c.table_name, ', ' order by c.table_name) into _tables
      from pgq._captures() c where c.queue_name = x_queue_name;
    if _tables is not null then
        raise exception 'cannot drop queue %, tables still captured into it: %', x_queue_name, _tables;
    end if;

    for _n in 0 .. _queue.queue_ntables - 1 loop
        execute 'drop table ' || pgq.quote_fqname(_queue.queue_data_pfx || '_' || _n);
    end loop;
    execute 'drop table ' || pgq.quote_fqname(_queue.queue_data_pfx);
    delete from pgq.retry_queue where ev_queue = _queue.queue_id;
    delete from pgq.tick where tick_queue = _queue.queue_id;
    execute 'drop sequence ' || pgq.quote_fqname(_queue.queue_tick_seq);
    execute 'drop sequence ' || pgq.quote_fqname(_queue.queue_event_seq);
    delete from pgq.queue where queue_id = _queue.queue_id;
    perform pgq._make_writer(_queue.queue_id);
    return 1;
end;
$$;

-- Drops a queue that nobody uses.
create or replace function pgq.drop_queue(x_queue_name text)
returns int4
language plpgsql strict
as $$
begin
    return pgq.drop_queue(x_queue_name, false);
end;
$$;

-- Changes one setting; the name comes without its queue_ prefix. Returns 1.
create or replace function pgq.set_queue_config(x_queue_name text, x_param_name text, x_param_value text)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if x_queue_name is null or x_param_name is null then
        raise exception 'Invalid NULL value';
    end if;
    perform 1 from pgq.queue where queue_name = x_queue_name;
    if not found then
        raise exception 'No such event queue';
    end if;
    if x_param_value is null then
        raise exception 'cannot set % of queue % to NULL', x_param_name, x_queue_name
              using errcode = 'null_value_not_allowed';
    end if;

    case x_param_name
        when 'ticker_max_count' then
            if x_param_value::int4 < 1 then
                raise exception 'ticker_max_count must be at least 1, not %', x_param_value
                      using errcode = 'invalid_parameter_value';
            end if;
            update pgq.queue set queue_ticker_max_count = x_param_value::int4 where queue_name = x_queue_name;
        when 'ticker_max_lag', 'ticker_idle_period', 'rotation_period' then
            if x_param_value::interval < interval '0' then
                raise exception '% must not be negative: %', x_param_name, x_param_value
                      using errcode = 'invalid_parameter_value';
            end if;
            update pgq.queue
               set queue_ticker_max_lag = case when x_param_name = 'ticker_max_lag'
                                               then x_param_value::interval else queue_ticker_max_lag end,
                   queue_ticker_idle_period = case when x_param_name = 'ticker_idle_period'
                                                   then x_param_value::interval else queue_ticker_idle_period end,
                   queue_rotation_period = case when x_param_name = 'rotation_period'
                                                then x_param_value::interval else queue_rotation_period end
             where queue_name = x_queue_name;
        when 'ticker_paused' then
            update pgq.queue set queue_ticker_paused = x_param_value::bool where queue_name = x_queue_name;
        when 'external_ticker' then
            update pgq.queue set queue_external_ticker = x_param_value::bool where queue_name = x_queue_name;
        else
            raise exception 'cannot change parameter "%"', x_param_name;
    end case;
    return 1;
end;
$$;

-- Sets the storage options of a queue's data tables: they are only appended to
-- and truncated, so vacuum has nothing to do there. Returns 1, 0 for no such queue.
create or replace function pgq.tune_storage(i_queue_name text)
returns int4
language plpgsql strict
as $$
declare
    _queue  pgq.queue;
begin
    select * into _queue from pgq.queue where queue_name = i_queue_name;
    if not found then
        return 0;
    end if;
    for _n in 0 .. _queue.queue_ntables - 1 loop
        execute format('alter table %s set (fillfactor = 100, autovacuum_enabled = off, toast.autovacuum_enabled = off)',
                       pgq.quote_fqname(_queue.queue_data_pfx || '_' || _n));
    end loop;
    return 1;
end;
$$;
