-- One row per sequence that users made, by name; those of identity columns too.
select jsonb_build_object('name', n.nspname || '.' || c.relname)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'S'
   and c.relpersistence <> 't'
   and n.nspname !~ '^(pg_|pgq)'
   and n.nspname not in ('information_schema', 'londiste', 'skytools')
 order by n.nspname, c.relname
