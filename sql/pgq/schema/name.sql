-- Quotes a name in its stored form: the first dot ends the schema, and without a
-- dot the schema is public. Source: contract/pgq.md 2.5.
create or replace function pgq.quote_fqname(i_name text)
returns text
language plpgsql strict immutable
as $$
declare
    _dot  int4 := position('.' in i_name);
begin
    if _dot = 0 then
        return 'public.' || quote_ident(i_name);
    end if;
    return quote_ident(left(i_name, _dot - 1)) || '.' || quote_ident(substr(i_name, _dot + 1));
end;
$$;
