-- One row per table that users made, plain or partitioned, by name. Definitions do not
-- depend on the session if it has: set search_path = ''. With jit = off ten thousand tables
-- are read in about a second: everything is joined as sets, and the functions that print
-- definitions are called only for what is there to print.
with rel as materialized (
    select c.oid, n.nspname, c.relname, c.relkind, c.relispartition
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p')
       and c.relpersistence <> 't'
       and n.nspname !~ '^(pg_|pgq)'
       and n.nspname not in ('information_schema', 'londiste', 'skytools')
), col as (
    select a.attrelid,
           jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
               'name', a.attname,
               'type', format_type(a.atttypid, a.atttypmod),
               -- From PostgreSQL 18 on NOT NULL can be NOT VALID: rows with nulls may be there.
               'not_null', nullif(a.attnotnull and nn.oid is null, false),
               'default', pg_get_expr(d.adbin, d.adrelid),
               'identity', case a.attidentity when 'a' then 'always' when 'd' then 'by default' end,
               'generated', case a.attgenerated when 's' then 'stored' when 'v' then 'virtual' end,
               'collation', quote_ident(cn.nspname) || '.' || quote_ident(co.collname)))
             order by a.attnum) as list
      from rel
      join pg_attribute a on a.attrelid = rel.oid and a.attnum > 0 and not a.attisdropped
      join pg_type t on t.oid = a.atttypid
      left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
      left join pg_constraint nn on nn.conrelid = a.attrelid and nn.contype = 'n' and not nn.convalidated
                                and nn.conkey = array[a.attnum]
      left join pg_collation co on co.oid = a.attcollation and a.attcollation <> t.typcollation
      left join pg_namespace cn on cn.oid = co.collnamespace
     group by a.attrelid
), pkey as (
    select k.conrelid,
           jsonb_strip_nulls(jsonb_build_object(
               'name', k.conname,
               'columns', jsonb_agg(a.attname order by p.nr),
               -- Only for what columns do not say: INCLUDE, DEFERRABLE, WITHOUT OVERLAPS.
               'def', case when k.condeferrable or k.conexclop is not null or i.indnatts <> i.indnkeyatts
                           then pg_get_constraintdef(k.oid) end)) as def
      from rel
      join pg_constraint k on k.conrelid = rel.oid and k.contype = 'p'
      join pg_index i on i.indexrelid = k.conindid
     cross join lateral unnest(k.conkey) with ordinality p (attnum, nr)
      join pg_attribute a on a.attrelid = k.conrelid and a.attnum = p.attnum
     group by k.oid, k.conrelid, k.conname, k.condeferrable, k.conexclop, i.indnatts, i.indnkeyatts
), con as (
    select k.conrelid,
           jsonb_agg(jsonb_build_object(
               'name', k.conname,
               'type', case k.contype when 'u' then 'unique' when 'c' then 'check' else 'exclusion' end,
               'def', pg_get_constraintdef(k.oid))
             order by k.conname) as list
      from rel
      join pg_constraint k on k.conrelid = rel.oid and k.contype in ('u', 'c', 'x')
     group by k.conrelid
), fkey as (
    select k.conrelid,
           jsonb_agg(jsonb_build_object(
               'name', k.conname,
               'def', pg_get_constraintdef(k.oid),
               'references', tn.nspname || '.' || t.relname)
             order by k.conname) as list
      from rel
      join pg_constraint k on k.conrelid = rel.oid and k.contype = 'f' and k.conparentid = 0
      join pg_class t on t.oid = k.confrelid
      join pg_namespace tn on tn.oid = t.relnamespace
     group by k.conrelid
), ind as (
    -- The definition from USING on: what comes before names the table.
    select i.indrelid,
           jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
               'name', x.relname,
               'unique', nullif(i.indisunique, false),
               'def', substr(pg_get_indexdef(x.oid), 1 + length(
                          'CREATE ' || case when i.indisunique then 'UNIQUE ' else '' end
                          || 'INDEX ' || quote_ident(x.relname) || ' ON '
                          || case when x.relkind = 'I' then 'ONLY ' else '' end
                          || quote_ident(rel.nspname) || '.' || quote_ident(rel.relname) || ' '))))
             order by x.relname) as list
      from rel
      join pg_index i on i.indrelid = rel.oid and i.indisvalid
      join pg_class x on x.oid = i.indexrelid
     where i.indexrelid not in (select k.conindid from pg_constraint k where k.contype in ('p', 'u', 'x'))
     group by i.indrelid
), used as (
    -- Owned by a column (a serial, i identity), or named by a default without being owned.
    select d.refobjid as attrelid, d.refobjsubid as attnum, d.objid as seqid, d.deptype = 'i' as identity, true as owned
      from pg_depend d
     where d.classid = 'pg_class'::regclass
       and d.refclassid = 'pg_class'::regclass
       and d.refobjsubid > 0
       and d.deptype in ('a', 'i')
     union all
    select f.adrelid, f.adnum, d.refobjid, false, false
      from pg_attrdef f
      join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = f.oid
                      and d.refclassid = 'pg_class'::regclass and d.refobjid <> f.adrelid
), seq as (
    select s.attrelid,
           jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
               'name', n.nspname || '.' || c.relname,
               'column', a.attname,
               'owned', nullif(s.owned, false),
               'identity', nullif(s.identity, false),
               'type', format_type(q.seqtypid, null),
               'start', q.seqstart, 'increment', q.seqincrement, 'min', q.seqmin, 'max', q.seqmax,
               'cache', q.seqcache, 'cycle', nullif(q.seqcycle, false)))
             order by a.attnum, c.relname, n.nspname) as list
      from (select attrelid, attnum, seqid, bool_or(identity) as identity, bool_or(owned) as owned
              from used
             group by attrelid, attnum, seqid) s
      join rel on rel.oid = s.attrelid
      join pg_class c on c.oid = s.seqid and c.relkind = 'S'
      join pg_namespace n on n.oid = c.relnamespace
      join pg_sequence q on q.seqrelid = c.oid
      join pg_attribute a on a.attrelid = s.attrelid and a.attnum = s.attnum
     group by s.attrelid
)
select jsonb_strip_nulls(jsonb_build_object(
           'name', rel.nspname || '.' || rel.relname,
           'kind', case rel.relkind when 'p' then 'partitioned' else 'table' end,
           'primary_key', pkey.def,
           'partition_by', case when rel.relkind = 'p' then pg_get_partkeydef(rel.oid) end,
           'partition_of', case when rel.relispartition then jsonb_build_object(
               'name', pn.nspname || '.' || pc.relname,
               'bound', pg_get_expr(rc.relpartbound, rel.oid)) end))
       || jsonb_build_object(
           'columns', coalesce(col.list, '[]'),
           'constraints', coalesce(con.list, '[]'),
           'fkeys', coalesce(fkey.list, '[]'),
           'indexes', coalesce(ind.list, '[]'),
           'sequences', coalesce(seq.list, '[]'))
  from rel
  left join col on col.attrelid = rel.oid
  left join pkey on pkey.conrelid = rel.oid
  left join con on con.conrelid = rel.oid
  left join fkey on fkey.conrelid = rel.oid
  left join ind on ind.indrelid = rel.oid
  left join seq on seq.attrelid = rel.oid
  left join pg_class rc on rc.oid = rel.oid and rel.relispartition
  left join pg_inherits h on h.inhrelid = rc.oid
  left join pg_class pc on pc.oid = h.inhparent
  left join pg_namespace pn on pn.oid = pc.relnamespace
 order by rel.nspname, rel.relname
