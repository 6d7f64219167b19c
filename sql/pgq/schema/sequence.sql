-- Last value of a sequence, 1 for one that was never used. It sees what other
-- transactions took before they commit. Source: contract/pgq.md 2.5.
create or replace function pgq.seq_getval(i_seq_name text)
returns int8
language plpgsql strict
as $$
declare
    _last int8;
begin
    _last := pg_catalog.pg_sequence_last_value(pgq.quote_fqname(i_seq_name)::regclass);
    if _last is null then
        execute 'select last_value from ' || pgq.quote_fqname(i_seq_name) into _last;
    end if;
    return _last;
end;
$$;

-- Raises a sequence to a value, never lowers it. Returns its last value
-- afterwards. Source: contract/pgq.md 2.5.
create or replace function pgq.seq_setval(i_seq_name text, i_new_value int8)
returns int8
language plpgsql strict
as $$
declare
    _last int8;
begin
    execute format('select pg_catalog.setval(%1$L, greatest($1, last_value)) from %1$s where last_value < $1',
                   pgq.quote_fqname(i_seq_name))
       into _last using i_new_value;
    return coalesce(_last, pgq.seq_getval(i_seq_name));
end;
$$;
