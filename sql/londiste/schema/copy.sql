-- Copies of one table from several merged queues are coordinated: one leads and drops the
-- indexes, the others wait their turn. Source: contract/londiste.md 1.7.

-- What the copy of a table should do now.
--   copy_role  NULL go on alone; lead; wait-copy until the leader has dropped the DDL;
--              wait-replay until the leader has put it back
--   copy_pos   how many parts copy before this one
create or replace function londiste._coordinate_copy(
    i_queue_name text,
    i_table_name text,
    out copy_role text,
    out copy_pos integer)
returns record
language plpgsql
stable
strict
as $$
declare
    v_state text;
    v_combined text;
    v_dest text;
    v_parts integer;
    v_done integer;         -- parts that have copied
    v_leader text;
    v_leader_ddl boolean;
begin
    copy_pos := 0;

    select t.merge_state, coalesce(t.dest_table, t.table_name), n.combined_queue
      into v_state, v_dest, v_combined
      from londiste.table_info t
      join pgq_node.node_info n on n.queue_name = t.queue_name
     where t.queue_name = i_queue_name
       and t.table_name = i_table_name;
    if not found then
        return;
    end if;

    select count(*) filter (where t.local),
           count(*) filter (where t.local and t.merge_state <> 'in-copy'),
           coalesce(
               min(t.queue_name) filter (where t.dropped_ddl is not null),
               min(t.queue_name) filter (where t.local)),
           count(t.dropped_ddl) > 0,
           count(*) filter (where t.queue_name < i_queue_name
                              and t.merge_state = 'in-copy' and v_state = 'in-copy')
      into v_parts, v_done, v_leader, v_leader_ddl, copy_pos
      from londiste.table_info t
      join pgq_node.node_info n on n.queue_name = t.queue_name
     where n.combined_queue is not distinct from v_combined
       and coalesce(t.dest_table, t.table_name) = v_dest
       and t.merge_state is distinct from 'ok';

    if v_parts <= 1 then
        return;
    end if;

    if v_leader = i_queue_name then
        if v_state = 'in-copy' then
            if not v_leader_ddl and v_done > 0 then
                copy_role := 'wait-replay'; -- joins late, copies with the indexes in place
            elsif v_done < v_parts then
                copy_role := 'lead';
            end if;
        elsif v_state = 'catching-up' and v_leader_ddl and v_done < v_parts then
            copy_role := 'wait-replay';
        end if;
        copy_pos := 0;
    elsif v_state = 'in-copy' then
        copy_role := case when v_leader_ddl or v_done > 0 then 'wait-replay' else 'wait-copy' end;
    elsif v_state = 'catching-up' and v_leader_ddl then
        copy_role := 'wait-replay';
    end if;
end;
$$;

-- The tables of a queue in the order of registration, as workers on every node read them.
-- Source: contract/londiste.md 1.4, 9.
create or replace function londiste.get_table_list(
    i_queue_name text,
    out table_name text,
    out local boolean,
    out merge_state text,
    out custom_snapshot text,
    out table_attrs text,
    out dropped_ddl text,
    out copy_role text,
    out copy_pos integer,
    out dest_table text)
returns setof record
language plpgsql
stable
strict
as $$
begin
    return query
    select t.table_name, t.local, t.merge_state, t.custom_snapshot, t.table_attrs, t.dropped_ddl,
           c.copy_role, coalesce(c.copy_pos, 0), t.dest_table
      from londiste.table_info t
      left join lateral londiste._coordinate_copy(t.queue_name, t.table_name) c
        on t.merge_state in ('in-copy', 'catching-up')
     where t.queue_name = i_queue_name
     order by t.nr, t.table_name;
end;
$$;

-- Stores where a table's copy stands; the text is not checked.
-- Codes: 200; 404 no such table. Source: contract/londiste.md 1.4, 2.1.
create or replace function londiste.local_set_table_state(
    i_queue_name text,
    i_table_name text,
    i_snapshot text,
    i_merge_state text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
as $$
declare
    v_name text := londiste.make_fqname(i_table_name);
begin
    update londiste.table_info
       set custom_snapshot = i_snapshot,
           merge_state = i_merge_state
     where queue_name = i_queue_name
       and table_name = v_name
       and local;
    if not found then
        ret_code := 404;
        ret_note := 'No such table: ' || coalesce(v_name, 'NULL');
        return;
    end if;
    ret_code := 200;
    ret_note := 'Table ' || v_name || ' state set to ' || coalesce(quote_literal(i_merge_state), 'NULL');
end;
$$;

-- Stores the DDL that ends a merge copy. Codes: 200; 404 no such local table.
-- Source: contract/londiste.md 1.4.
create or replace function londiste.local_set_table_struct(
    i_queue_name text,
    i_table_name text,
    i_dropped_ddl text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
as $$
begin
    update londiste.table_info
       set dropped_ddl = i_dropped_ddl
     where queue_name = i_queue_name
       and table_name = i_table_name
       and local;
    if not found then
        ret_code := 404;
        ret_note := 'No such local table: ' || coalesce(i_table_name, 'NULL');
        return;
    end if;
    ret_code := 200;
    ret_note := 'Table struct stored';
end;
$$;

-- Stores a table's attributes. Codes: 200; 404 no such local table.
-- Source: contract/londiste.md 1.4, 1.5.
create or replace function londiste.local_set_table_attrs(
    i_queue_name text,
    i_table_name text,
    i_table_attrs text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
as $$
begin
    update londiste.table_info
       set table_attrs = i_table_attrs
     where queue_name = i_queue_name
       and table_name = i_table_name
       and local;
    if not found then
        ret_code := 404;
        ret_note := 'No such local table: ' || coalesce(i_table_name, 'NULL');
        return;
    end if;
    ret_code := 200;
    ret_note := 'Table attributes stored';
end;
$$;
