-- One row: what the server has for those who receive its WAL, and take its backups.
select jsonb_build_object(
           'role', current_user,
           'may', (select r.rolreplication or r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user),
           'roles', (select coalesce(jsonb_agg(r.rolname order by r.rolname), '[]') from pg_catalog.pg_roles r
                      where r.rolcanlogin and r.rolreplication and not r.rolsuper),
           'senders', (select setting::int from pg_catalog.pg_settings where name = 'max_wal_senders'),
           'sending', (select count(*) from pg_catalog.pg_stat_replication),
           'max_slots', (select setting::int from pg_catalog.pg_settings where name = 'max_replication_slots'),
           'slots', (select coalesce(jsonb_agg(jsonb_build_object('name', s.slot_name, 'type', s.slot_type, 'status', s.wal_status, 'active', s.active) order by s.slot_name), '[]')
                       from pg_catalog.pg_replication_slots s))
