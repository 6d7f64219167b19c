-- Columns of captured tables, and SQL that turns their values into text.
-- Source: contract/pgq.md 7.2 to 7.5.

-- The oid of a table in its stored form, null when there is none. Unlike
-- to_regclass it needs no right on the schema.
create or replace function pgq._table_oid(i_table_name text)
returns oid
language plpgsql stable
as $$
declare
    _name  text := case when position('.' in i_table_name) = 0 then 'public.' else '' end || i_table_name;
begin
    return (select c.oid
              from pg_catalog.pg_class c
              join pg_catalog.pg_namespace n on n.oid = c.relnamespace
             where n.nspname = left(_name, position('.' in _name) - 1)
               and c.relname = substr(_name, position('.' in _name) + 1));
end;
$$;

-- The type behind a domain, or the type itself.
create or replace function pgq._base_type(i_type oid)
returns oid
language plpgsql stable
as $$
declare
    _type  oid := i_type;
    _base  oid;
begin
    loop
        select typbasetype into _base from pg_catalog.pg_type where oid = _type and typtype = 'd';
        exit when not found;
        _type := _base;
    end loop;
    return _type;
end;
$$;

-- The columns of a table in their order. key_place counts the columns of the
-- primary key by their place in the key, without those that are only included.
-- own_cast: the cast of the base type to text is not its output function.
create or replace function pgq._columns(
    i_table oid, out col_name text, out col_type oid, out base_type oid, out own_cast bool, out key_place int8)
returns setof record
language plpgsql stable
as $$
begin
    return query
        select a.attname::text, a.atttypid, b.base,
               exists (select 1 from pg_catalog.pg_cast x
                        where x.castsource = b.base and x.casttarget = 'text'::regtype and x.castmethod = 'f'),
               k.place
          from pg_catalog.pg_attribute a
          join pg_catalog.pg_type t on t.oid = a.atttypid
         cross join lateral (select case t.typtype when 'd' then pgq._base_type(t.oid) else t.oid end as base) b
          left join (select i.indrelid, c.attnum, c.place
                       from pg_catalog.pg_index i
                      cross join lateral unnest(i.indkey) with ordinality c (attnum, place)
                      where i.indrelid = i_table
                        and i.indisprimary
                        and c.place <= i.indnkeyatts) k on k.attnum = a.attnum
         where a.attrelid = i_table
           and a.attnum > 0
           and not a.attisdropped
         order by a.attnum;
end;
$$;

-- What a capture depends on of its table: name, columns and key.
create or replace function pgq._table_digest(i_table oid)
returns text
language sql stable
as $$
    select md5(n.nspname || '.' || c.relname || ' '
               || (select string_agg(a.attname || ' ' || a.atttypid, ',' order by a.attnum)
                     from pg_catalog.pg_attribute a
                    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)
               || ' ' || coalesce((select i.indkey::text from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary), ''))
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.oid = i_table;
$$;

-- Says whether a table is still what a capture was made for. It claims to be
-- immutable so that the server asks once and keeps the answer with the plan, which
-- it throws away when the table that is named in there changes: asking costs
-- nothing for each row.
create or replace function pgq._is_shape(i_table oid, i_digest text)
returns bool
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return pgq._table_digest(i_table) = i_digest;
end;
$$;

-- SQL for the text that the type's output function makes of a value, null for
-- null. A cast to text is that, unless the type has a cast of its own: those of
-- bool, char(n) and inet say something else.
create or replace function pgq._sql_text(i_own_cast bool, i_expr text)
returns text
language plpgsql immutable
as $$
begin
    if i_own_cast then
        return 'case when ' || i_expr || ' is distinct from null then concat(' || i_expr || ') end';
    end if;
    return i_expr || '::text';
end;
$$;

-- The JSON of a time, in UTC: also of those that are before Christ or never.
create or replace function pgq._json_moment(i_time timestamptz)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
set TimeZone = 'UTC'
as $$
begin
    return to_json(i_time)::text;
end;
$$;

-- SQL for the JSON form of a value, null for null. Numbers and truth stay bare only
-- where the original's do; everything else is a string. A domain is a string.
create or replace function pgq._sql_json(i_type oid, i_base_type oid, i_own_cast bool, i_expr text)
returns text
language plpgsql immutable
as $$
begin
    if i_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then
        return i_expr || '::text';
    elsif i_type = 'timestamptz'::regtype then  -- in UTC, whatever the session's zone is
        return 'case when ' || i_expr || ' >= ''0001-01-02 00:00+00'' and ' || i_expr || ' <= ''9999-12-31 00:00+00'''
            || ' then left(to_json(timezone(''UTC'', ' || i_expr || '))::text, -1) || ''+00:00"'''
            || ' else pgq._json_moment(' || i_expr || ') end';
    elsif i_type in ('bool'::regtype, 'date'::regtype, 'timestamp'::regtype) then
        return 'to_json(' || i_expr || ')::text';
    elsif i_base_type in ('numeric'::regtype, 'uuid'::regtype) then  -- nothing in them needs to be escaped
        return '''"'' || ' || i_expr || '::text || ''"''';
    end if;
    return 'to_json(' || pgq._sql_text(i_own_cast, i_expr) || ')::text';
end;
$$;

-- SQL that says whether two values of a type differ: by the type's default
-- equality, wherever that operator lives, and for arrays, composites and types
-- without one by their text. i_type is no domain.
create or replace function pgq._sql_differ(i_type oid, i_own_cast bool, i_one text, i_other text)
returns text
language plpgsql stable
as $$
declare
    _type      record;
    _schema    text;  -- and name of the operator
    _operator  text;
begin
    -- Most columns, without a look at the catalog.
    if i_type in ('int4'::regtype, 'int8'::regtype, 'text'::regtype, 'varchar'::regtype, 'numeric'::regtype,
                  'bool'::regtype, 'timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype, 'uuid'::regtype,
                  'jsonb'::regtype, 'int2'::regtype, 'float8'::regtype, 'float4'::regtype, 'bytea'::regtype,
                  'bpchar'::regtype, 'interval'::regtype, 'time'::regtype, 'inet'::regtype, 'name'::regtype) then
        return i_one || ' is distinct from ' || i_other;
    end if;
    select t.typcategory = 'A' or t.typtype = 'c' as by_text, t.typtype in ('e', 'r', 'm') as has_equality
      into _type from pg_catalog.pg_type t where t.oid = i_type;
    if not _type.by_text and not _type.has_equality then
        select n.nspname, p.oprname
          into _schema, _operator
          from pg_catalog.pg_opclass c
          join pg_catalog.pg_am m on m.oid = c.opcmethod
          join pg_catalog.pg_amop a on a.amopfamily = c.opcfamily
                                   and a.amoplefttype = c.opcintype and a.amoprighttype = c.opcintype
                                   and a.amopstrategy = case m.amname when 'btree' then 3 else 1 end
          join pg_catalog.pg_operator p on p.oid = a.amopopr
          join pg_catalog.pg_namespace n on n.oid = p.oprnamespace
         where m.amname in ('btree', 'hash')
           and c.opcdefault
           and (c.opcintype = i_type
                or exists (select 1 from pg_catalog.pg_cast x
                            where x.castsource = i_type and x.casttarget = c.opcintype
                              and x.castmethod = 'b' and x.castcontext = 'i'))
         order by c.opcintype = i_type desc, m.amname
         limit 1;
        _type.has_equality := found;
    end if;

    if not _type.has_equality then
        return pgq._sql_text(i_own_cast, i_one) || ' is distinct from ' || pgq._sql_text(i_own_cast, i_other);
    elsif coalesce(_schema, 'pg_catalog') = 'pg_catalog' then
        return i_one || ' is distinct from ' || i_other;
    end if;
    return format('case when %1$s is null or %2$s is null then num_nulls(%1$s, %2$s) = 1 else not %1$s operator(%3$I.%4$s) %2$s end',
                  i_one, i_other, _schema, _operator);
end;
$$;
