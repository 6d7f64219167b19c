-- One row per table that is replicated here: how far its copy is, the rows of pieces that
-- are copied (see runners/copy), and the foreign keys that wait for it.
select jsonb_build_object(
           'queue', t.queue_name,
           'name', t.table_name,
           'merge_state', t.merge_state,
           'custom_snapshot', t.custom_snapshot,
           'dest', coalesce(t.dest_table, t.table_name),
           'dropped_ddl', t.dropped_ddl is not null,
           'rows', (
               select coalesce(sum(m[1]::int8), 0)
                 from regexp_matches(coalesce(t.dropped_ddl, ''), '^-- piece \d+: (\d+) rows$', 'gn') m),
           'pending_fkeys', (
               select count(*)
                 from londiste.pending_fkeys f
                where coalesce(t.dest_table, t.table_name) in (f.from_table, f.to_table)))
  from londiste.table_info t
 where t.local
 order by t.queue_name, t.table_name
