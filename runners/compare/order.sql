-- One row per column of table $1.$2: what its order depends on beside its values. Two
-- columns with the same text here put the same values into the same order. Empty: nobody
-- can say. Source: PostgreSQL documentation, 24.2 Collation Support.
with recursive base as (
    select a.attnum, a.attname, a.attcollation, a.atttypid as typ
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p')
     union all
    select b.attnum, b.attname, b.attcollation, t.typbasetype
      from base b
      join pg_catalog.pg_type t on t.oid = b.typ and t.typtype = 'd'
), library as (
    select co.collprovider as provider, max(pg_catalog.pg_collation_actual_version(co.oid)) as version
      from pg_catalog.pg_collation co
     where co.collprovider = 'i' and co.collname = 'und-x-icu'
     group by co.collprovider
), here as (
    select coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') as provider,
           coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') as locale,
           d.datcollate as lc
      from pg_catalog.pg_database d
     where d.datname = current_database()
), coll as (
    select co.oid,
           case co.collprovider when 'd' then here.provider else co.collprovider::text end as provider,
           case when co.collprovider = 'd'
                then case here.provider when 'c' then here.lc else here.locale end
                else coalesce(to_jsonb(co) ->> 'colllocale', to_jsonb(co) ->> 'colliculocale', to_jsonb(co) ->> 'collcollate') end as locale,
           case when co.collprovider = 'd' then here.provider = 'c' and here.lc in ('C', 'POSIX')
                else co.collprovider = 'c' and to_jsonb(co) ->> 'collcollate' in ('C', 'POSIX') end as bytes,
           coalesce((to_jsonb(co) ->> 'collisdeterministic')::bool, true) as deterministic
      from pg_catalog.pg_collation co, here
     where co.oid in (select attcollation from base)
), placed as (
    select co.oid,
           case when co.bytes then 'bytes'
                else concat_ws(' ', co.provider, co.locale, case when not co.deterministic then 'nondeterministic' end,
                               case co.provider
                               when 'c' then coalesce((select max(pg_catalog.pg_collation_actual_version(x.oid))
                                                         from pg_catalog.pg_collation x
                                                        where x.collprovider = 'c' and x.collcollate = co.locale), 'unknown ' || version())
                               when 'i' then coalesce((select l.version from library l where l.provider = 'i'), 'unknown ' || version())
                               end)
           end as place
      from coll co
)
select b.attname::text as name,
       case when t.typtype = 'e' then 'enum ' || (
                 select string_agg(quote_literal(e.enumlabel), ',' order by e.enumsortorder)
                   from pg_catalog.pg_enum e where e.enumtypid = t.oid)
            when t.typnamespace <> 'pg_catalog'::regnamespace then ''
            when t.typname in ('int2', 'int4', 'int8', 'numeric') then 'number'
            when t.typname in ('float4', 'float8') then 'float'
            when t.typname in ('uuid', 'bool', 'date', 'timestamp', 'timestamptz', 'time', 'bytea', 'oid',
                               'inet', 'cidr', 'macaddr', 'macaddr8') then t.typname::text
            when t.typname in ('text', 'varchar') then 'text ' || placed.place
            when t.typname = 'bpchar' then 'char ' || placed.place
            else '' end as place
  from base b
  join pg_catalog.pg_type t on t.oid = b.typ and t.typtype <> 'd'
  left join placed on placed.oid = b.attcollation
 order by b.attnum
