-- One row: how the server archives its WAL. archive_library is of version 15. Where
-- archive_mode is off, archive_command shows itself as (disabled), but its reset value
-- is what the files say.
select jsonb_build_object(
           'name', (select setting from pg_catalog.pg_settings where name = 'cluster_name'),
           'mode', (select setting from pg_catalog.pg_settings where name = 'archive_mode'),
           'command', (select reset_val from pg_catalog.pg_settings where name = 'archive_command'),
           'library', (select setting from pg_catalog.pg_settings where name = 'archive_library'),
           'wal_level', (select setting from pg_catalog.pg_settings where name = 'wal_level'),
           'pending', (select coalesce(jsonb_agg(name order by name), '[]') from pg_catalog.pg_settings
                        where pending_restart and name in ('archive_mode', 'wal_level')),
           'arrived', (select coalesce(a.last_archived_time >= coalesce(a.last_failed_time, '-infinity'), false)
                         from pg_catalog.pg_stat_archiver a),
           'standby', pg_catalog.pg_is_in_recovery(),
           'patroni', exists (select from pg_catalog.pg_settings where name = 'cluster_name' and setting <> '')
                      and exists (select from pg_catalog.pg_stat_activity where application_name = 'Patroni'))
