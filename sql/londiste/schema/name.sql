-- Names are stored unquoted as schema.name: the first dot ends the schema, without a dot it
-- is public, and search_path is never asked. Source: contract/londiste.md 0.2, 1.3.

create or replace function londiste.make_fqname(i_name text)
returns text
language sql
immutable
strict
as $$
    select case when strpos(i_name, '.') > 0 then i_name else 'public.' || i_name end;
$$;

create or replace function londiste.split_fqname(
    i_fqname text,
    out schema_part text,
    out name_part text)
returns record
language sql
immutable
strict
as $$
    select case when strpos(i_fqname, '.') > 0 then split_part(i_fqname, '.', 1) else 'public' end,
           substr(i_fqname, strpos(i_fqname, '.') + 1);
$$;

-- The name as SQL writes it, both halves quoted where they need it.
create or replace function londiste.quote_fqname(i_name text)
returns text
language sql
immutable
strict
as $$
    select quote_ident(p.schema_part) || '.' || quote_ident(p.name_part)
      from londiste.split_fqname(i_name) p;
$$;

-- The relation of that name and kind (pg_class.relkind); NULL when there is none.
create or replace function londiste.find_rel_oid(i_fqname text, i_kind text)
returns oid
language sql
stable
strict
as $$
    select c.oid
      from londiste.split_fqname(i_fqname) p
      join pg_catalog.pg_namespace n on n.nspname = p.schema_part
      join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = p.name_part
     where c.relkind = i_kind::"char";
$$;

-- The table of that name, plain or partitioned; NULL when there is none.
create or replace function londiste.find_table_oid(tbl text)
returns oid
language sql
stable
strict
as $$
    select coalesce(londiste.find_rel_oid(tbl, 'r'), londiste.find_rel_oid(tbl, 'p'));
$$;

-- The sequence of that name; NULL when there is none.
create or replace function londiste.find_seq_oid(seq text)
returns oid
language sql
stable
strict
as $$
    select londiste.find_rel_oid(seq, 'S');
$$;

-- One letter per live column in table order: k in the primary key, v otherwise. NULL when
-- there is no such table. Columns are matched by the table's own numbers, and INCLUDE
-- columns are no key. Source: contract/londiste.md 1.3, defect 8.1/9.
create or replace function londiste.find_column_types(tbl text)
returns text
language sql
stable
strict
as $$
    select string_agg(case when a.attnum = any (k.columns) then 'k' else 'v' end, '' order by a.attnum)
      from pg_catalog.pg_attribute a
      left join lateral (
            select (i.indkey::smallint[])[0:i.indnkeyatts - 1] as columns
              from pg_catalog.pg_index i
             where i.indrelid = a.attrelid
               and i.indisprimary) k on true
     where a.attrelid = londiste.find_table_oid(tbl)
       and a.attnum > 0
       and not a.attisdropped;
$$;
