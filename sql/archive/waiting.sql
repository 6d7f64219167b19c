-- One row: the files that wait to be archived, and what pg_wal holds. For pg_monitor.
select (select count(*)
          from pg_catalog.pg_ls_archive_statusdir() f
         where f.name like '%.ready') as files,
       (select coalesce(extract(epoch from now() - min(f.modification)), 0)::float8
          from pg_catalog.pg_ls_archive_statusdir() f
         where f.name like '%.ready') as age,
       (select coalesce(sum(f.size), 0)::int8
          from pg_catalog.pg_ls_waldir() f) as bytes
