-- One row per group role that the schemas' grants name. Only memberships among
-- these: who else is a member is for the server's owner to say.
with known as (
    select oid, rolname
      from pg_catalog.pg_roles
     where rolname in ('pgq_reader', 'pgq_writer', 'pgq_admin', 'londiste_reader', 'londiste_writer'))
select jsonb_build_object(
         'name', k.rolname,
         'member_of', (select coalesce(jsonb_agg(distinct g.rolname), '[]')
                         from pg_catalog.pg_auth_members m
                         join known g on g.oid = m.roleid
                        where m.member = k.oid))
  from known k
 order by k.rolname
