-- A DDL script runs between execute_start and execute_finish, in one transaction.
-- Codes: 200 run it; 201 it ran here already; 401 this node should be the root and is not.
-- Raises for an unknown queue. Source: contract/londiste.md 1.9, 5.2.
create or replace function londiste.execute_start(
    i_queue_name text,
    i_file_name text,
    i_sql text,
    i_expect_root boolean,
    i_attrs text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
as $$
begin
    if not pgq_node.is_root_node(i_queue_name) and i_expect_root then
        ret_code := 401;
        ret_note := 'Node is not root node: ' || i_queue_name;
        return;
    end if;

    insert into londiste.applied_execute (queue_name, execute_file, execute_sql, execute_attrs)
    values (i_queue_name, i_file_name, i_sql, i_attrs)
    on conflict (execute_file) do nothing;
    if found then
        ret_code := 200;
        ret_note := 'Executing: ' || i_file_name;
    else
        ret_code := 201;
        ret_note := 'EXECUTE: "' || i_file_name || '" already applied, skipping';
    end if;
end;
$$;

create or replace function londiste.execute_start(
    i_queue_name text,
    i_file_name text,
    i_sql text,
    i_expect_root boolean,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
as $$
begin
    select s.ret_code, s.ret_note into ret_code, ret_note
      from londiste.execute_start(i_queue_name, i_file_name, i_sql, i_expect_root, null) s;
end;
$$;

-- Ends a script; on the root it travels on as an event.
-- Codes: 200; 404 execute_start was not called. Source: contract/londiste.md 0.5, 1.9.
create or replace function londiste.execute_finish(
    i_queue_name text,
    i_file_name text,
    out ret_code integer,
    out ret_note text)
returns record
language plpgsql
strict
as $$
declare
    v_sql text;
    v_attrs text;
begin
    select e.execute_sql, e.execute_attrs into v_sql, v_attrs
      from londiste.applied_execute e
     where e.execute_file = i_file_name;
    if not found then
        ret_code := 404;
        ret_note := 'Script was not started: ' || i_file_name;
        return;
    end if;

    if pgq_node.is_root_node(i_queue_name) then
        perform pgq.insert_event(i_queue_name, 'EXECUTE', v_sql, i_file_name, v_attrs, null, null);
    end if;

    ret_code := 200;
    ret_note := 'Execute finished: ' || i_file_name;
end;
$$;
