-- One row per managed object of this database.
select jsonb_build_object(
         'address', address, 'cluster', cluster, 'spec', spec,
         'at', to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'by', by, 'revision', revision)
  from skytools.applied
 order by address
