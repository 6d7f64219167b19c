-- One row per table of users: the bytes of its rows, without indexes and TOAST, and
-- how many the last ANALYZE guessed. An empty table has none.
select jsonb_build_object(
         'name', n.nspname || '.' || c.relname,
         'bytes', pg_catalog.pg_relation_size(c.oid),
         'rows', greatest(c.reltuples, 0)::int8)
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'r'
   and c.relpersistence <> 't'
   and n.nspname !~ '^(pg_|pgq)'
   and n.nspname not in ('information_schema', 'londiste', 'skytools')
