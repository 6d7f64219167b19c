-- Registration of tables. Source: contract/londiste.md 1.4.

-- Tells the set of a queue, and of the queue that it is merged into, that a table exists.
-- Codes: 200, also when it was known; 400 no such queue.
create or replace function londiste.global_add_table(
    i_queue_name text,
    i_table_name text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
strict
as $$
declare
    v_name text := londiste.make_fqname(i_table_name);
    v_combined text;
begin
    select n.combined_queue into v_combined
      from pgq_node.node_info n
     where n.queue_name = i_queue_name
       for update;
    if not found then
        ret_code := 400;
        ret_note := 'No such queue: ' || i_queue_name;
        return;
    end if;

    insert into londiste.table_info (queue_name, table_name)
    values (i_queue_name, v_name)
    on conflict (queue_name, table_name) do nothing;
    ret_code := 200;
    ret_note := case when found then 'Table added: ' else 'Table already added: ' end || v_name;

    if v_combined is not null then
        perform londiste.global_add_table(v_combined, v_name);
    end if;
end;
$$;

-- Takes a table out of the set, and stops to replicate it here.
-- Codes: 200; 400 not in the set.
create or replace function londiste.global_remove_table(
    i_queue_name text,
    i_table_name text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
strict
as $$
declare
    v_name text := londiste.make_fqname(i_table_name);
begin
    if exists (
        select 1
          from pgq_node.node_info n
         where n.queue_name = i_queue_name
           and n.node_type <> 'root')
    then
        perform londiste.local_remove_table(i_queue_name, v_name);
    end if;

    delete from londiste.table_info
     where queue_name = i_queue_name
       and table_name = v_name;
    if not found then
        ret_code := 400;
        ret_note := 'Table not found: ' || v_name;
        return;
    end if;
    ret_code := 200;
    ret_note := 'Table removed: ' || v_name;
end;
$$;

-- Starts to replicate a table here: on the root its changes are published from now on, below
-- it a copy is due unless expect_sync is among the arguments. On a leaf it also registers
-- the other queues that are merged into the same table, and the queue they are merged into.
-- Codes: 200; 301 added, but other triggers fire before ours and their own changes would be
-- published first; 400 no set, or no primary key; 403, 405 as create_trigger, or other
-- sources need merge_all or no_merge; 404 no such table here or in the set; 410 is there with
-- other attributes. From 400 on the caller must roll back.
create or replace function londiste.local_add_table(
    i_queue_name text,
    i_table_name text,
    i_trg_args text[],
    i_table_attrs text,
    i_dest_table text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
as $$
declare
    v_args text[] := coalesce(i_trg_args, '{}');
    v_name text := londiste.make_fqname(i_table_name);
    v_dest text := londiste.make_fqname(coalesce(i_dest_table, i_table_name));
    v_desc text;
    v_attrs text := i_table_attrs;
    v_merge_all boolean := 'merge_all' = any (v_args);
    v_no_merge boolean := 'no_merge' = any (v_args);
    v_virtual boolean := 'virtual_table' = any (v_args);
    v_node record;
    v_table record;
    v_state text;
    v_part record;
    v_reply record;
begin
    v_desc := v_name || case when v_dest = v_name then '' else '(' || v_dest || ')' end;
    if 'skip_truncate' = any (v_args) then
        v_attrs := concat_ws('&', nullif(v_attrs, ''), 'skip_truncate=1');
    end if;
    if v_merge_all and v_no_merge then
        ret_code := 405;
        ret_note := 'Cannot use merge_all and no_merge together';
        return;
    end if;

    if not v_virtual then
        select c.ret_code, c.ret_note into ret_code, ret_note
          from londiste._check_table(i_queue_name, v_dest) c;
        if ret_code <> 200 then
            return;
        end if;
    end if;

    select n.node_type, n.combined_queue, c.node_type as combined_type
      into v_node
      from pgq_node.node_info n
      left join pgq_node.node_info c on c.queue_name = n.combined_queue
     where n.queue_name = i_queue_name;
    if not found then
        ret_code := 400;
        ret_note := 'No such set: ' || coalesce(i_queue_name, 'NULL');
        return;
    end if;

    if v_node.node_type = 'root' then
        perform londiste.global_add_table(i_queue_name, v_name);
    end if;
    select t.local, t.table_attrs into v_table
      from londiste.table_info t
     where t.queue_name = i_queue_name
       and t.table_name = v_name
       for update;
    if not found then
        ret_code := 404;
        ret_note := 'Table not available on queue: ' || v_desc;
        return;
    end if;
    if v_table.local then
        if v_table.table_attrs is distinct from v_attrs then
            ret_code := 410;
            ret_note := 'Table ' || v_desc || ' already added, but with different args: '
                || coalesce(v_table.table_attrs, '');
        else
            ret_code := 200;
            ret_note := 'Table already added: ' || v_desc;
        end if;
        return;
    end if;

    if v_node.node_type = 'root'
        or v_node.node_type = 'leaf' and v_node.combined_type = 'branch'
        or v_virtual
        or 'expect_sync' = any (v_args)
    then
        v_state := 'ok';
    end if;
    if v_node.node_type = 'root' then
        perform londiste.root_notify_change(i_queue_name, 'londiste.add-table', v_name);
    end if;

    update londiste.table_info
       set local = true,
           merge_state = v_state,
           table_attrs = coalesce(v_attrs, table_attrs),
           dest_table = nullif(v_dest, v_name)
     where queue_name = i_queue_name
       and table_name = v_name;

    if v_node.node_type = 'leaf' and not v_no_merge then
        for v_part in
            select t.queue_name, t.table_name, t.local
              from londiste.table_info t
              join pgq_node.node_info n on n.queue_name = t.queue_name
             where t.queue_name <> i_queue_name
               and n.combined_queue is not distinct from v_node.combined_queue
               and coalesce(t.dest_table, t.table_name) = v_dest
             order by t.queue_name
        loop
            if v_part.local and v_state is distinct from 'ok' then
                ret_code := 405;
                ret_note := 'Found local table ' || v_desc || ' in queue ' || v_part.queue_name
                    || ', use remove-table first to remove all previous table subscriptions';
                return;
            end if;
            if not v_merge_all and v_state is distinct from 'ok' then
                ret_code := 405;
                ret_note := 'Found multiple sources for table ' || v_desc || ', use merge-all or no-merge to continue';
                return;
            end if;
            update londiste.table_info
               set local = true,
                   merge_state = v_state,
                   table_attrs = coalesce(v_attrs, table_attrs)
             where queue_name = v_part.queue_name
               and table_name = v_part.table_name;
        end loop;
    end if;

    if v_node.combined_type in ('root', 'branch')
        and not exists (
            select 1
              from londiste.table_info t
             where t.queue_name = v_node.combined_queue
               and t.table_name = v_name
               and t.local)
    then
        select a.ret_code, a.ret_note into ret_code, ret_note
          from londiste.local_add_table(v_node.combined_queue, v_name, i_trg_args, i_table_attrs, v_dest) a;
        if ret_code >= 400 then
            return;
        end if;
    end if;

    select * into v_reply
      from londiste.create_trigger(i_queue_name, v_name, v_args, v_dest, v_node.node_type);
    if v_reply.ret_code > 299 then
        ret_code := v_reply.ret_code;
        ret_note := 'Trigger creation failed for table ' || v_desc || ': ' || v_reply.ret_note;
        return;
    end if;
    if v_reply.ret_code = 201 then
        ret_code := 200;
        ret_note := 'Table added with no triggers: ' || v_desc;
        return;
    end if;

    ret_code := 200;
    ret_note := 'Table added: ' || v_desc;
    if v_node.node_type = 'root' then
        select 301, 'Table added: ' || v_desc || ', but triggers fire before ' || v_reply.trigger_name
                    || ': ' || string_agg(t.tgname, ', ' order by t.tgname)
          into v_reply.ret_code, v_reply.ret_note
          from pg_catalog.pg_trigger t
         where t.tgrelid = londiste.find_table_oid(v_dest)
           and not t.tgisinternal
           and t.tgtype & 67 = 1    -- after ... for each row, and not instead of
           and t.tgname < v_reply.trigger_name::name
           and not londiste.is_replica_func(t.tgfoid)
        having count(*) > 0;
        if found then
            ret_code := v_reply.ret_code;
            ret_note := v_reply.ret_note;
        end if;
    end if;
end;
$$;

create or replace function londiste.local_add_table(
    i_queue_name text,
    i_table_name text,
    i_trg_args text[],
    i_table_attrs text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
as $$
begin
    select a.ret_code, a.ret_note into ret_code, ret_note
      from londiste.local_add_table(i_queue_name, i_table_name, i_trg_args, i_table_attrs, null) a;
end;
$$;

create or replace function londiste.local_add_table(
    i_queue_name text,
    i_table_name text,
    i_trg_args text[],
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
as $$
begin
    select a.ret_code, a.ret_note into ret_code, ret_note
      from londiste.local_add_table(i_queue_name, i_table_name, i_trg_args, null, null) a;
end;
$$;

create or replace function londiste.local_add_table(
    i_queue_name text,
    i_table_name text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
strict
as $$
begin
    select a.ret_code, a.ret_note into ret_code, ret_note
      from londiste.local_add_table(i_queue_name, i_table_name, null, null, null) a;
end;
$$;

-- Whether a table can be replicated: it is there and has a primary key, or has lost it only
-- while the leader of a merge copy fills it. Codes: 200; 400 no primary key; 404 no such
-- table. Internal.
create or replace function londiste._check_table(
    i_queue_name text,
    i_dest_table text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
stable
as $$
begin
    if londiste.find_table_oid(i_dest_table) is null then
        ret_code := 404;
        ret_note := 'Table does not exist: ' || i_dest_table;
        return;
    end if;
    if position('k' in coalesce(londiste.find_column_types(i_dest_table), '')) > 0
        or exists (
            select 1
              from pgq_node.node_info n
              join pgq_node.node_info o
                on o.combined_queue = n.combined_queue and o.queue_name <> n.queue_name
              join londiste.table_info t on t.queue_name = o.queue_name
             where n.queue_name = i_queue_name
               and coalesce(t.dest_table, t.table_name) = i_dest_table
               and t.dropped_ddl is not null)
    then
        ret_code := 200;
        ret_note := 'OK';
        return;
    end if;
    ret_code := 400;
    ret_note := 'Primary key missing on table: ' || i_dest_table;
end;
$$;

-- Stops to replicate a table here, with the sequences of its columns; on the root, everywhere.
-- A merge copy that it interrupts leaves its indexes, and an empty table unless other
-- sources have copied their rows already.
-- Codes: 200; 400 not in the set, or below the root not local.
create or replace function londiste.local_remove_table(
    i_queue_name text,
    i_table_name text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
strict
as $$
declare
    v_name text := londiste.make_fqname(i_table_name);
    v_dest text;
    v_table record;
    v_root boolean;
    v_seq text;
begin
    select t.local, t.dropped_ddl, coalesce(t.dest_table, t.table_name) as dest, n.node_type = 'root' as root
      into v_table
      from londiste.table_info t
      join pgq_node.node_info n on n.queue_name = t.queue_name
     where t.queue_name = i_queue_name
       and t.table_name = v_name
       for update of t;
    if not found then
        ret_code := 400;
        ret_note := 'Table not found: ' || v_name;
        return;
    end if;
    v_dest := v_table.dest;
    v_root := v_table.root;

    if v_table.local then
        perform londiste.drop_table_triggers(i_queue_name, v_name);

        if v_table.dropped_ddl is not null and londiste.find_table_oid(v_dest) is not null then
            if not exists (
                select 1
                  from londiste.table_info o
                  join pgq_node.node_info n on n.queue_name = o.queue_name
                 where o.queue_name <> i_queue_name
                   and n.node_type = 'leaf'
                   and o.local
                   and o.merge_state <> 'in-copy'
                   and coalesce(o.dest_table, o.table_name) = v_dest)
            then
                execute 'truncate ' || londiste._only(v_dest);
            end if;
            execute v_table.dropped_ddl;
        end if;

        update londiste.table_info
           set local = false,
               custom_snapshot = null,
               table_attrs = null,
               dropped_ddl = null,
               merge_state = null,
               dest_table = null
         where queue_name = i_queue_name
           and table_name = v_name;

        for v_seq in
            select s.seq
              from londiste._owned_sequences(v_dest) s (seq)
              join londiste.seq_info i on i.queue_name = i_queue_name and i.seq_name = s.seq
             order by 1
        loop
            perform londiste.local_remove_seq(i_queue_name, v_seq);
        end loop;
    elsif not v_root then
        ret_code := 400;
        ret_note := 'Table not registered locally: ' || v_name;
        return;
    end if;

    if v_root then
        perform londiste.global_remove_table(i_queue_name, v_name);
        perform londiste.root_notify_change(i_queue_name, 'londiste.remove-table', v_name);
    end if;
    ret_code := 200;
    ret_note := 'Table removed: ' || v_name;
end;
$$;

-- The sequences that belong to columns of a table, serial or identity, as schema.name. Internal.
create or replace function londiste._owned_sequences(i_table text)
returns setof text
language sql
stable
strict
as $$
    select n.nspname || '.' || s.relname
      from pg_catalog.pg_depend d
      join pg_catalog.pg_class s on s.oid = d.objid and s.relkind = 'S'
      join pg_catalog.pg_namespace n on n.oid = s.relnamespace
     where d.classid = 'pg_catalog.pg_class'::regclass
       and d.refclassid = 'pg_catalog.pg_class'::regclass
       and d.refobjid = londiste.find_table_oid(i_table)
       and d.refobjsubid > 0
       and d.deptype in ('a', 'i');
$$;

-- Gives a local table other attributes and makes its triggers for the given arguments.
-- Codes: 200; 400 no set; 404 no such local table; 4xx of create_trigger.
create or replace function londiste.local_change_handler(
    i_queue_name text,
    i_table_name text,
    i_trg_args text[],
    i_table_attrs text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
as $$
declare
    v_name text := londiste.make_fqname(i_table_name);
    v_type text;
    v_dest text;
    v_reply record;
begin
    select n.node_type into v_type
      from pgq_node.node_info n
     where n.queue_name = i_queue_name;
    if not found then
        ret_code := 400;
        ret_note := 'No such set: ' || coalesce(i_queue_name, 'NULL');
        return;
    end if;

    update londiste.table_info
       set table_attrs = i_table_attrs
     where queue_name = i_queue_name
       and table_name = v_name
       and local
    returning coalesce(dest_table, table_name) into v_dest;
    if not found then
        ret_code := 404;
        ret_note := 'no such local table: ' || coalesce(v_name, 'NULL');
        return;
    end if;

    select * into v_reply
      from londiste.create_trigger(i_queue_name, v_name, i_trg_args, v_dest, v_type);
    if v_reply.ret_code > 299 then
        ret_code := v_reply.ret_code;
        ret_note := 'Trigger creation failed for table ' || v_name || ': ' || v_reply.ret_note;
    elsif v_reply.ret_code = 201 then
        ret_code := 200;
        ret_note := 'Table handler updated with no triggers: ' || v_name;
    else
        ret_code := 200;
        ret_note := 'Handler changed for table: ' || v_name;
    end if;
end;
$$;

-- What could be added: on the root every table and sequence that is not in the set, below it
-- what the set has and this node has not. obj_kind is r or S. Partitioned parents are not
-- offered, as their partitions are, and both together would publish every change twice.
create or replace function londiste.local_show_missing(
    i_queue_name text,
    out obj_kind text,
    out obj_name text)
returns setof record
language plpgsql
stable
strict
as $$
begin
    if pgq_node.is_root_node(i_queue_name) then
        return query
        select c.relkind::text, n.nspname || '.' || c.relname
          from pg_catalog.pg_class c
          join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'S')
           and n.nspname !~ '^(pg_|pgq$|pgq_)'
           and n.nspname not in ('information_schema', 'londiste', 'skytools', 'txid')
           and not exists (
                select 1
                  from londiste.table_info t
                 where t.queue_name = i_queue_name
                   and t.local
                   and coalesce(t.dest_table, t.table_name) = n.nspname || '.' || c.relname)
           and not exists (
                select 1
                  from londiste.seq_info s
                 where s.queue_name = i_queue_name
                   and s.local
                   and s.seq_name = n.nspname || '.' || c.relname)
         order by 1, 2;
    else
        return query
        select 'S', s.seq_name
          from londiste.seq_info s
         where s.queue_name = i_queue_name
           and not s.local
         union all
        select 'r', t.table_name
          from londiste.table_info t
         where t.queue_name = i_queue_name
           and not t.local
         order by 1, 2;
    end if;
end;
$$;

-- Tells the nodes below about a change of the set. Returns 1. Raises when the node is no
-- root. Source: contract/londiste.md 0.5.
create or replace function londiste.root_notify_change(
    i_queue_name text,
    i_ev_type text,
    i_ev_data text)
returns integer
language plpgsql
as $$
begin
    if not pgq_node.is_root_node(i_queue_name) then
        raise exception 'only the root may notify of changes: %', i_queue_name;
    end if;
    perform pgq.insert_event(i_queue_name, i_ev_type, i_ev_data);
    return 1;
end;
$$;
