-- One row per setting where the server is a standby: its value for new sessions, and how it
-- changes. What may hold a secret is left out.
select jsonb_build_object(
           'name', name,
           'value', reset_val,
           'unit', unit,
           'type', vartype,
           'context', context,
           'source', source,
           'pending', pending_restart)
  from pg_catalog.pg_settings
 where pg_catalog.pg_is_in_recovery()
   and name not in ('primary_conninfo', 'restore_command', 'ssl_passphrase_command')
   and not (name like '%.%' and vartype = 'string')
   and (current_setting('skytools.only', true) is null or current_setting('skytools.only', true) in ('', name))
