-- One row per script that ran on a node, or that conditions let it pass over.
select jsonb_build_object(
           'queue', e.queue_name,
           'name', e.execute_file,
           'at', extract(epoch from e.execute_time)::int8,
           'sha256', encode(sha256(convert_to(e.execute_sql, 'UTF8')), 'hex'))
  from londiste.applied_execute e
 where coalesce(current_setting('skytools.only', true), '') in ('', e.queue_name || '/' || e.execute_file)
 order by e.execute_file
