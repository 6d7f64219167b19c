-- Whole batches. To mark one is a part of the transaction that does it: then the
-- mark is there exactly when the work is. Source: contract/pgq.md 3.2.

-- Whether a batch is the last one that was done.
create or replace function pgq_ext.is_batch_done(a_consumer text, a_subconsumer text, a_batch_id int8)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (select 1
                     from pgq_ext.completed_batch b
                    where b.consumer_id = a_consumer
                      and b.subconsumer_id = a_subconsumer
                      and b.last_batch_id = a_batch_id);
end;
$$;

-- The same for a consumer without members.
create or replace function pgq_ext.is_batch_done(a_consumer text, a_batch_id int8)
returns boolean
language plpgsql
as $$
begin
    return pgq_ext.is_batch_done(a_consumer, '', a_batch_id);
end;
$$;

-- Marks a batch. False: it was done already. Of two sessions with one batch the
-- second waits for the first, and gets false if that one commits. Only ids above
-- zero are kept.
create or replace function pgq_ext.set_batch_done(a_consumer text, a_subconsumer text, a_batch_id int8)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if a_batch_id is null or a_batch_id <= 0 then
        return true;
    end if;
    insert into pgq_ext.completed_batch as b (consumer_id, subconsumer_id, last_batch_id)
    values (a_consumer, a_subconsumer, a_batch_id)
        on conflict (consumer_id, subconsumer_id)
        do update set last_batch_id = excluded.last_batch_id
            where b.last_batch_id <> excluded.last_batch_id;
    return found;
end;
$$;

-- The same for a consumer without members.
create or replace function pgq_ext.set_batch_done(a_consumer text, a_batch_id int8)
returns boolean
language plpgsql
as $$
begin
    return pgq_ext.set_batch_done(a_consumer, '', a_batch_id);
end;
$$;
