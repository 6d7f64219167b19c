-- Sequences are published ahead of their value, from the root, when little is left.
-- Source: contract/londiste.md 1.10, 5.1.

-- Starts to replicate a sequence here.
-- Codes: 200; 201 it is already; 400 no such sequence here; 404 not in the set, or no set.
create or replace function londiste.local_add_seq(
    i_queue_name text,
    i_seq_name text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
as $$
declare
    v_name text := londiste.make_fqname(i_seq_name);
    v_root boolean;
    v_local boolean;
    v_value bigint;
begin
    perform 1 from pgq_node.node_info where queue_name = i_queue_name for update;
    if not found then
        ret_code := 404;
        ret_note := 'No such queue: ' || coalesce(i_queue_name, 'NULL');
        return;
    end if;
    v_root := pgq_node.is_root_node(i_queue_name);

    if v_name is null or londiste.find_seq_oid(v_name) is null then
        ret_code := 400;
        ret_note := 'Sequence not found: ' || coalesce(v_name, 'NULL');
        return;
    end if;

    select s.local, s.last_value into v_local, v_value
      from londiste.seq_info s
     where s.queue_name = i_queue_name
       and s.seq_name = v_name
       for update;
    if not found and not v_root then
        ret_code := 404;
        ret_note := 'Unknown sequence: ' || v_name;
        return;
    end if;
    if v_local then
        ret_code := 201;
        ret_note := 'Sequence already added: ' || v_name;
        return;
    end if;

    if v_root then
        insert into londiste.seq_info (queue_name, seq_name, local, last_value)
        values (i_queue_name, v_name, true, 0)
        on conflict (queue_name, seq_name) do update set local = true;
        perform londiste.root_check_seqs(i_queue_name);
    else
        update londiste.seq_info
           set local = true
         where queue_name = i_queue_name
           and seq_name = v_name;
        perform pgq.seq_setval(v_name, v_value);
    end if;

    ret_code := 200;
    ret_note := 'Sequence added: ' || v_name;
end;
$$;

-- Stops to replicate a sequence here; on the root, everywhere.
-- Codes: 200; 400 (root) or 404 not registered.
create or replace function londiste.local_remove_seq(
    i_queue_name text,
    i_seq_name text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
strict
as $$
declare
    v_name text := londiste.make_fqname(i_seq_name);
begin
    if pgq_node.is_root_node(i_queue_name) then
        select g.ret_code, g.ret_note into ret_code, ret_note
          from londiste.global_remove_seq(i_queue_name, v_name) g;
        return;
    end if;

    update londiste.seq_info
       set local = false
     where queue_name = i_queue_name
       and seq_name = v_name
       and local;
    if not found then
        ret_code := 404;
        ret_note := 'Sequence not found: ' || v_name;
        return;
    end if;
    ret_code := 200;
    ret_note := 'Sequence removed: ' || v_name;
end;
$$;

-- A value arrives from the root. A sequence never moves back.
-- Codes: 200; 402 this is the root; 404 no set.
create or replace function londiste.global_update_seq(
    i_queue_name text,
    i_seq_name text,
    i_value bigint,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
as $$
declare
    v_name text := londiste.make_fqname(i_seq_name);
    v_type text;
    v_local boolean;
begin
    select n.node_type into v_type
      from pgq_node.node_info n
     where n.queue_name = i_queue_name;
    if not found then
        ret_code := 404;
        ret_note := 'Set not found: ' || coalesce(i_queue_name, 'NULL');
        return;
    end if;
    if v_type = 'root' then
        ret_code := 402;
        ret_note := 'Must not run on the root';
        return;
    end if;

    insert into londiste.seq_info as s (queue_name, seq_name, last_value)
    values (i_queue_name, v_name, i_value)
    on conflict (queue_name, seq_name) do update
       set last_value = excluded.last_value
    returning s.local into v_local;
    if v_local then
        perform pgq.seq_setval(v_name, i_value);
    end if;

    ret_code := 200;
    ret_note := 'Sequence updated';
end;
$$;

-- Takes a sequence out of the set; the root tells the others.
-- Codes: 200; 400 not in the set.
create or replace function londiste.global_remove_seq(
    i_queue_name text,
    i_seq_name text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
strict
as $$
declare
    v_name text := londiste.make_fqname(i_seq_name);
begin
    delete from londiste.seq_info
     where queue_name = i_queue_name
       and seq_name = v_name;
    if not found then
        ret_code := 400;
        ret_note := 'Sequence not found: ' || v_name;
        return;
    end if;
    if pgq_node.is_root_node(i_queue_name) then
        perform londiste.root_notify_change(i_queue_name, 'londiste.remove-seq', v_name);
    end if;
    ret_code := 200;
    ret_note := 'Sequence removed from set: ' || v_name;
end;
$$;

-- Publishes, on the root, each sequence that comes within i_buffer values of what was
-- published, three buffers ahead. NULL or less than 10 means 10000.
-- Codes: 100; 402 not the root; 404 no set.
create or replace function londiste.root_check_seqs(
    i_queue_name text,
    i_buffer bigint,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
as $$
declare
    v_buffer bigint := case when i_buffer >= 10 then i_buffer else 10000 end;
    v_type text;
    v_seq record;
    v_real bigint;
    v_ahead bigint;
begin
    select n.node_type into v_type
      from pgq_node.node_info n
     where n.queue_name = i_queue_name;
    if not found then
        ret_code := 404;
        ret_note := 'Queue not found: ' || coalesce(i_queue_name, 'NULL');
        return;
    end if;
    if v_type <> 'root' then
        ret_code := 402;
        ret_note := 'Node is not root node: ' || i_queue_name;
        return;
    end if;

    for v_seq in
        select s.seq_name, s.last_value
          from londiste.seq_info s
         where s.queue_name = i_queue_name
           and s.local
         order by s.nr
    loop
        v_real := pgq.seq_getval(v_seq.seq_name);
        if v_real + v_buffer >= v_seq.last_value then
            v_ahead := v_real + v_buffer * 3;
            perform pgq.insert_event(
                i_queue_name, 'londiste.update-seq', v_ahead::text, v_seq.seq_name, null, null, null);
            update londiste.seq_info
               set last_value = v_ahead
             where queue_name = i_queue_name
               and seq_name = v_seq.seq_name;
        end if;
    end loop;

    ret_code := 100;
    ret_note := 'Sequences checked';
end;
$$;

create or replace function londiste.root_check_seqs(
    i_queue_name text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
as $$
begin
    select r.ret_code, r.ret_note into ret_code, ret_note
      from londiste.root_check_seqs(i_queue_name, 10000::bigint) r;
end;
$$;

-- The sequences of a queue in the order of registration.
create or replace function londiste.get_seq_list(
    i_queue_name text,
    out seq_name text,
    out last_value bigint,
    out local boolean)
returns setof record
language plpgsql
strict
as $$
begin
    return query
    select s.seq_name, s.last_value, s.local
      from londiste.seq_info s
     where s.queue_name = i_queue_name
     order by s.nr, s.seq_name;
end;
$$;
