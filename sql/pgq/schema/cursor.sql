-- Reading a batch in pieces. Source: contract/pgq.md 2.4.

-- Opens a cursor over a batch in the caller's transaction and returns its first
-- i_quick_limit events; the caller goes on with FETCH and CLOSE. i_extra_where is
-- SQL over the event columns, run with the rights of the caller: it must come
-- from whoever wrote the consumer, never from data.
create or replace function pgq.get_batch_cursor(
    i_batch_id int8, i_cursor_name text, i_quick_limit int4, i_extra_where text,
    out ev_id int8, out ev_time timestamptz, out ev_txid int8, out ev_retry int4, out ev_type text, out ev_data text,
    out ev_extra1 text, out ev_extra2 text, out ev_extra3 text, out ev_extra4 text)
returns setof record
language plpgsql
as $$
declare
    _cursor  refcursor := i_cursor_name;
    _sql     text;
begin
    if i_batch_id is null or i_cursor_name is null or i_quick_limit is null then
        return;
    end if;

    _sql := pgq.batch_event_sql(i_batch_id);
    if i_extra_where is not null then
        _sql := 'select * from (' || regexp_replace(_sql, ' order by 1$', '') || E') e where (\n'
             || i_extra_where || E'\n) order by 1';
    end if;

    open _cursor no scroll for execute _sql;
    for _n in 1 .. i_quick_limit loop
        fetch _cursor into ev_id, ev_time, ev_txid, ev_retry, ev_type, ev_data,
                           ev_extra1, ev_extra2, ev_extra3, ev_extra4;
        exit when not found;
        return next;
    end loop;
end;
$$;

-- The same without a filter.
create or replace function pgq.get_batch_cursor(
    i_batch_id int8, i_cursor_name text, i_quick_limit int4,
    out ev_id int8, out ev_time timestamptz, out ev_txid int8, out ev_retry int4, out ev_type text, out ev_data text,
    out ev_extra1 text, out ev_extra2 text, out ev_extra3 text, out ev_extra4 text)
returns setof record
language plpgsql strict
as $$
begin
    return query select * from pgq.get_batch_cursor(i_batch_id, i_cursor_name, i_quick_limit, null);
end;
$$;
