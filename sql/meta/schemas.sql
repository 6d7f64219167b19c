-- One row per schema that skytools installs or adopts, with a digest per function
-- name that sql.Schema.Functions computes from the files in the same way. Functions
-- that are generated in the database stand in no file: while they are as they were
-- generated (pgq/writer.sql) they do not count.
select jsonb_build_object(
         'name', n.nspname,
         'comment', coalesce(pg_catalog.obj_description(n.oid, 'pg_namespace'), ''),
         'extension', e.extversion,
         'functions', coalesce(f.functions, '{}'))
  from pg_catalog.pg_namespace n
  left join pg_catalog.pg_extension e on e.extname = n.nspname
  left join lateral (
        select jsonb_object_agg(d.proname, d.digest) as functions
          from (select p.proname,
                       md5(string_agg(p.digest, ',' order by p.digest collate "C")) as digest
                  from (select proname,
                               md5(prosrc
                                   || case when prosecdef then '|definer' else '' end
                                   || coalesce('|' || array_to_string(proconfig, '|'), '')) as digest
                          from pg_catalog.pg_proc
                         where pronamespace = n.oid
                           and pg_catalog.obj_description(oid, 'pg_proc') is distinct from 'generated ' || md5(prosrc)) p
                 group by p.proname) d) f on true
 where n.nspname in ('skytools', 'pgq', 'pgq_node', 'pgq_coop', 'pgq_ext', 'londiste')
 order by n.nspname
