-- One row: how the server's archiver fares.
select (select s.setting from pg_catalog.pg_settings s where s.name = 'archive_mode') as mode,
       coalesce(a.last_archived_wal, '') as last,
       extract(epoch from now() - a.last_archived_time)::float8 as last_age,
       coalesce(a.last_failed_wal, '') as failed,
       extract(epoch from now() - a.last_failed_time)::float8 as failed_age,
       coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), false) as failing
  from pg_catalog.pg_stat_archiver a
