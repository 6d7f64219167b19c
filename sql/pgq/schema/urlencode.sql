-- Encodes a value for ev_data: letters, digits, _ . and - stay, a space becomes
-- +, every other byte %xx in lower case. Text in which nothing needs it, the
-- usual case, is returned as it is. Source: contract/pgq.md 7.2.
create or replace function pgq._urlencode(val text)
returns text
language plpgsql strict immutable
as $$
begin
    if val !~ '[^A-Za-z0-9_.-]' then
        return val;
    end if;
    return (
        select string_agg(
                   case when run[1] ~ '^[A-Za-z0-9_.-]' then run[1]
                        else replace(regexp_replace(encode(convert_to(run[1], getdatabaseencoding()), 'hex'),
                                                    '(..)', '%\1', 'g'),
                                     '%20', '+')
                   end, '' order by place)
          from regexp_matches(val, '[A-Za-z0-9_.-]+|[^A-Za-z0-9_.-]+', 'g') with ordinality m (run, place));
end;
$$;
