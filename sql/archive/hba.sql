-- One row: whether pg_hba.conf lets somebody in by replication who may do so, or the role
-- of this session. From where is not asked. By default it is for superusers.
with roles as (
    select r.oid, r.rolname::text as name
      from pg_catalog.pg_roles r
     where r.rolcanlogin and r.rolreplication or r.rolname = current_user
)
select jsonb_build_object('lets', exists (
           select
             from pg_catalog.pg_hba_file_rules h, unnest(h.user_name) as u(name), roles
            where h.error is null and h.auth_method <> 'reject' and 'replication' = any (h.database)
              and (u.name in ('all', roles.name)
                   or u.name like '/%' and roles.name ~ substr(u.name, 2)
                   or exists (select from pg_catalog.pg_roles g
                               where g.rolname = substr(u.name, 2) and u.name like '+%' and pg_catalog.pg_has_role(roles.oid, g.oid, 'member')))))
