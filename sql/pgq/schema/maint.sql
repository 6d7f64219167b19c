-- What maintenance has to run now. Source: contract/pgq.md 4.8.

-- Functions to call and tables to vacuum, in order, each in a transaction of its
-- own. func_name is a function that takes func_arg (or nothing, when that is
-- null) and says with a result other than 0 that it wants to be called again;
-- or it is vacuum, and func_arg the table.
create or replace function pgq.maint_operations(out func_name text, out func_arg text)
returns setof record
language plpgsql
as $$
begin
    return query
        select 'pgq.maint_rotate_tables_step1'::text, q.queue_name
          from pgq.queue q
         where q.queue_rotation_period is not null
           and q.queue_switch_step2 is not null
           and q.queue_switch_time + q.queue_rotation_period < now()
         order by q.queue_name;

    if found or exists (select 1 from pgq.queue q where q.queue_switch_step2 is null) then
        return query select 'pgq.maint_rotate_tables_step2'::text, null::text;
    end if;

    return query
        select e.name, q.queue_name
          from pgq.queue q
         cross join lateral unnest(q.queue_extra_maint) with ordinality e (name, place)
         where e.name <> ''
         order by q.queue_name, e.place;

    return query select 'vacuum'::text, t from pgq.maint_tables_to_vacuum() t;

    if to_regprocedure('pgq_node.maint_watermark(text)') is not null then
        return query execute
            'select ''pgq_node.maint_watermark''::text, queue_name
               from pgq_node.node_info where node_type = ''root'' order by 2';
    end if;
    if to_regprocedure('londiste.root_check_seqs(text)') is not null then
        return query execute
            'select ''londiste.root_check_seqs''::text, n.queue_name
               from pgq_node.node_info n
              where n.node_type = ''root''
                and exists (select 1 from londiste.seq_info s where s.queue_name = n.queue_name and s.local)
              order by 2';
    end if;
    if to_regprocedure('londiste.periodic_maintenance()') is not null then
        return query select 'londiste.periodic_maintenance'::text, null::text;
    end if;
end;
$$;

-- Small tables that change often, for servers that do not vacuum by themselves.
create or replace function pgq.maint_tables_to_vacuum()
returns setof text
language plpgsql
as $$
begin
    if current_setting('autovacuum') = 'on' then
        return;
    end if;
    return query
        select n.nspname || '.' || c.relname
          from unnest(array['pgq.subscription', 'pgq.consumer', 'pgq.queue', 'pgq.tick', 'pgq.retry_queue',
                            'pgq_ext.completed_tick', 'pgq_ext.completed_batch', 'pgq_ext.completed_event',
                            'pgq_ext.partial_batch', 'pgq_node.local_state',
                            'londiste.seq_info', 'londiste.completed', 'txid.epoch'])
               with ordinality t (name, place)
          join pg_catalog.pg_class c on c.oid = to_regclass(t.name)
          join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         order by t.place;
end;
$$;
