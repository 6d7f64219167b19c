-- One row per standby that is connected now. state is null for a role that may not read it.
select jsonb_build_object(
           'name', application_name,
           'state', state,
           'commit', current_setting('synchronous_commit'))
  from pg_catalog.pg_stat_replication
