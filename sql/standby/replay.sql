-- One row where the server is a standby: how it replays. Its name is that of its slot,
-- which is set also where it does not stream.
select jsonb_build_object(
           'name', (select setting from pg_catalog.pg_settings where name = 'primary_slot_name'),
           'delay', (select setting::int8 from pg_catalog.pg_settings where name = 'recovery_min_apply_delay'),
           'state', pg_catalog.pg_get_wal_replay_pause_state(),
           'since', to_char(pg_catalog.pg_last_xact_replay_timestamp() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"'),
           'behind', case when pg_catalog.pg_last_wal_receive_lsn() <= pg_catalog.pg_last_wal_replay_lsn() then 0
                          else extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())
                     end)
 where pg_catalog.pg_is_in_recovery()
