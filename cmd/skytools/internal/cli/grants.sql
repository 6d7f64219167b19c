-- Roles for skytools. Make them once per server, and repeat the parts below "in each
-- database" in every managed one. Nothing here needs to be a superuser later on.
-- Choose the names you like, and give each a password or a certificate.

-- 1. plan, drift, status, observe: can only read.
create role skytools_plan login;
alter role skytools_plan set default_transaction_read_only = on;

-- 2. run: ticks queues, replays tables. Its role must own the replicated tables on
--    subscribers, or be a member of their owner, to empty and copy them.
create role skytools_run login;

-- 3. apply: installs schemas, creates queues, nodes and triggers. It must own the
--    captured and replicated tables, or be a member of their owner.
create role skytools_apply login createrole;

-- In each database, before the first apply (as its owner or a superuser):
--   grant connect, create on database DATABASE to skytools_apply;
--   grant connect on database DATABASE to skytools_plan, skytools_run;
--   grant TABLE_OWNER to skytools_apply, skytools_run;

-- After the first apply, which creates the group roles (as skytools_apply):
--   grant pgq_reader to skytools_plan;
--   grant pgq_admin, londiste_writer to skytools_run;

-- Programs that consume queues need no more than this, each where it connects:
--   grant pgq_reader to PROGRAM;   -- where the queue is
--   grant pgq_writer to PROGRAM;   -- where it writes, when that is another database

-- On servers with subscribers, from PostgreSQL 15 on (as a superuser), so that user
-- triggers and foreign keys stay silent while changes are replayed:
--   grant set on parameter session_replication_role to skytools_run;
-- Without it, and before 15 without a superuser, replay works all the same; triggers
-- and foreign keys of subscribers then fire for replayed rows.

-- Where apply keeps the settings of an archive, and proves that WAL arrives (as a
-- superuser; before 15 only superusers can change settings):
--   grant alter system on parameter archive_mode, archive_command, wal_level to skytools_apply;
--   grant execute on function pg_reload_conf(), pg_create_restore_point(text), pg_switch_wal(),
--     pg_stat_reset_shared(text) to skytools_apply;
-- and so that plan can tell whether pg_hba.conf lets replication in:
--   grant select on pg_hba_file_rules to skytools_plan;
--   grant execute on function pg_hba_file_rules() to skytools_plan;
