-- One row: where this session is and what its role may do.
select jsonb_build_object(
         'database', current_database(),
         'user', current_user,
         'system_id', (select system_identifier::text from pg_catalog.pg_control_system()),
         'primary', not pg_catalog.pg_is_in_recovery(),
         'superuser', r.rolsuper,
         'create_role', r.rolcreaterole or r.rolsuper,
         'create_in', pg_catalog.has_database_privilege(current_database(), 'create'),
         'replica_role', r.rolsuper,
         'installed', exists (select from pg_catalog.pg_namespace where nspname = 'skytools'))
  from pg_catalog.pg_roles r
 where r.rolname = current_user
