-- Positions: the tick up to which everything is done. Source: contract/pgq.md 3.2.

-- The position of a subconsumer; null: none is known.
create or replace function pgq_ext.get_last_tick(a_consumer text, a_subconsumer text)
returns int8
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select t.last_tick_id
              from pgq_ext.completed_tick t
             where t.consumer_id = a_consumer
               and t.subconsumer_id = a_subconsumer);
end;
$$;

-- The same for a consumer without members.
create or replace function pgq_ext.get_last_tick(a_consumer text)
returns int8
language plpgsql
as $$
begin
    return pgq_ext.get_last_tick(a_consumer, '');
end;
$$;

-- Sets a position, or forgets it when the tick is null. Always returns 1.
create or replace function pgq_ext.set_last_tick(a_consumer text, a_subconsumer text, a_tick_id int8)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if a_tick_id is null then
        delete from pgq_ext.completed_tick t
         where t.consumer_id = a_consumer
           and t.subconsumer_id = a_subconsumer;
        return 1;
    end if;
    insert into pgq_ext.completed_tick (consumer_id, subconsumer_id, last_tick_id)
    values (a_consumer, a_subconsumer, a_tick_id)
        on conflict (consumer_id, subconsumer_id)
        do update set last_tick_id = excluded.last_tick_id;
    return 1;
end;
$$;

-- The same for a consumer without members.
create or replace function pgq_ext.set_last_tick(a_consumer text, a_tick_id int8)
returns int4
language plpgsql
as $$
begin
    return pgq_ext.set_last_tick(a_consumer, '', a_tick_id);
end;
$$;
