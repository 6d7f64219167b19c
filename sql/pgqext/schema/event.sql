-- Events one by one, for a consumer that commits within a batch.
-- Source: contract/pgq.md 3.2.

-- Whether an event of the batch in hand was done.
create or replace function pgq_ext.is_event_done(a_consumer text, a_subconsumer text, a_batch_id int8, a_event_id int8)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (select 1
                     from pgq_ext.completed_event e
                    where e.consumer_id = a_consumer
                      and e.subconsumer_id = a_subconsumer
                      and e.batch_id = a_batch_id
                      and e.event_id = a_event_id);
end;
$$;

-- The same for a consumer without members.
create or replace function pgq_ext.is_event_done(a_consumer text, a_batch_id int8, a_event_id int8)
returns boolean
language plpgsql
as $$
begin
    return pgq_ext.is_event_done(a_consumer, '', a_batch_id, a_event_id);
end;
$$;

-- Marks an event. False: it was done already. The marks of another batch go when
-- the first event of this one is marked; the row of partial_batch lets one session
-- of a subconsumer do so at a time.
create or replace function pgq_ext.set_event_done(a_consumer text, a_subconsumer text, a_batch_id int8, a_event_id int8)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if pgq_ext.is_event_done(a_consumer, a_subconsumer, a_batch_id, a_event_id) then
        return false;
    end if;
    insert into pgq_ext.partial_batch as b (consumer_id, subconsumer_id, cur_batch_id)
    values (a_consumer, a_subconsumer, a_batch_id)
        on conflict (consumer_id, subconsumer_id)
        do update set cur_batch_id = excluded.cur_batch_id
            where b.cur_batch_id <> excluded.cur_batch_id;
    if found then
        delete from pgq_ext.completed_event e
         where e.consumer_id = a_consumer
           and e.subconsumer_id = a_subconsumer
           and e.batch_id <> a_batch_id;
    end if;
    insert into pgq_ext.completed_event (consumer_id, subconsumer_id, batch_id, event_id)
    values (a_consumer, a_subconsumer, a_batch_id, a_event_id)
        on conflict do nothing;
    return found;
end;
$$;

-- The same for a consumer without members.
create or replace function pgq_ext.set_event_done(a_consumer text, a_batch_id int8, a_event_id int8)
returns boolean
language plpgsql
as $$
begin
    return pgq_ext.set_event_done(a_consumer, '', a_batch_id, a_event_id);
end;
$$;
