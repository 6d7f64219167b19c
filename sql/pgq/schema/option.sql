-- Options of the trigger functions. Source: contract/pgq.md 7.1.

-- Splits a comma separated list of column names.
create or replace function pgq._split_names(i_list text)
returns text[]
language plpgsql immutable
as $$
begin
    return coalesce((select array_agg(btrim(name) order by place)
                       from unnest(string_to_array(i_list, ',')) with ordinality n (name, place)
                      where btrim(name) <> ''), '{}');
end;
$$;

-- Reads the arguments that follow the queue name. Expressions are null where
-- none was given; ev_exprs has ev_type, ev_data and ev_extra1 to ev_extra4.
create or replace function pgq._read_options(
    i_args text[], out do_skip bool, out do_deny bool, out do_backup bool,
    out ignored text[], out keys text[], out keys_text text, out ev_exprs text[], out when_expr text)
returns record
language plpgsql immutable
as $$
declare
    _arg    text;
    _name   text;
    _value  text;
    _field  int4;
begin
    do_skip := false;
    do_deny := false;
    do_backup := false;
    ev_exprs := array_fill(null::text, array[6]);
    foreach _arg in array coalesce(i_args, '{}') loop
        _name := split_part(_arg, '=', 1);
        _value := substr(_arg, length(_name) + 2);
        _field := array_position(array['ev_type', 'ev_data', 'ev_extra1', 'ev_extra2', 'ev_extra3', 'ev_extra4'], _name);
        case
            when _arg = 'SKIP' then do_skip := true;
            when _arg = 'deny' then do_deny := true;
            when _arg = 'backup' then do_backup := true;
            when _arg = _name then raise exception 'bad param to pgq trigger' using detail = _arg;
            when _name = 'ignore' then ignored := pgq._split_names(_value);
            when _name = 'pkey' then
                keys_text := _value;
                keys := pgq._split_names(_value);
            when _name = 'when' then when_expr := _value;
            when _field is not null then ev_exprs[_field] := _value;
            else raise exception 'bad param to pgq trigger' using detail = _arg;
        end case;
    end loop;
end;
$$;

-- Puts r. and quotes to the words of an expression that are names of columns, so
-- that a column in upper case or named like a keyword can be written as it is, or
-- quoted. Strings, comments, functions, casts and qualified names stay.
create or replace function pgq._qualify_columns(i_expr text, i_columns text[])
returns text
language plpgsql immutable
as $$
begin
    return (
        with token as (
            select t[1] as word, place
              from regexp_matches(
                       i_expr,
                       $re$([eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*(?:[^*]|\*(?!/))*\*/|[^\x01-@\[-^`{-\x7f][^\x01-#%-/:-@\[-^`{-\x7f]*|[0-9][0-9A-Za-z_.]*|\s+|::|.)$re$,
                       'g') with ordinality m (t, place)),
        solid as (
            select place,
                   case when word ~ '^"' then replace(substr(word, 2, length(word) - 2), '""', '"') else word end as name,
                   lag(word) over (order by place) as before,
                   lead(word) over (order by place) as after
              from token where word !~ '^\s')
        select string_agg(
                   case when solid.name = any (i_columns)
                             and solid.before is distinct from '.' and solid.before is distinct from '::'
                             and solid.after is distinct from '.' and solid.after is distinct from '('
                        then 'r."' || replace(solid.name, '"', '""') || '"'
                        else token.word
                   end, '' order by token.place)
          from token left join solid using (place));
end;
$$;
