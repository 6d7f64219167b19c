-- One row: how far the server's archiver is.
select jsonb_build_object(
           'last', coalesce(a.last_archived_wal, ''),
           'last_at', a.last_archived_time,
           'failed', coalesce(a.last_failed_wal, ''),
           'failed_at', a.last_failed_time,
           'failing', coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), false))
  from pg_catalog.pg_stat_archiver a
