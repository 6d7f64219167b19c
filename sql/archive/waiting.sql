-- One row: the files that wait to be archived, and what pg_wal holds. For pg_monitor.
select (select count(*)
          from pg_catalog.pg_ls_archive_statusdir() f
         where f.name like '%.ready') as files,
       (select count(*)
          from pg_catalog.pg_ls_archive_statusdir() f
         where f.name ~ '^[0-9A-F]{24}\.ready$')
       * (select s.setting::int8
            from pg_catalog.pg_settings s
           where s.name = 'wal_segment_size') as queued,
       (select coalesce(extract(epoch from now() - min(f.modification)), 0)::float8
          from pg_catalog.pg_ls_archive_statusdir() f
         where f.name like '%.ready') as age,
       (select coalesce(sum(f.size), 0)::int8
          from pg_catalog.pg_ls_waldir() f) as bytes
