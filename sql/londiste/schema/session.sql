-- Lets a worker without superuser rights apply changes as a replica: runs with the rights of
-- the schema's owner, who needs a superuser's, or from PostgreSQL 15 on
-- "grant set on parameter session_replication_role". Whoever may execute it can pass by
-- triggers and foreign keys of tables that he may write. Source: contract/londiste.md 1.3.
create or replace function londiste.set_session_replication_role(val text, is_local boolean)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if val is null or val not in ('origin', 'replica', 'local') then
        raise exception 'invalid value for session_replication_role: %', val;
    end if;
    perform set_config('session_replication_role', val, coalesce(is_local, false));
end;
$$;
