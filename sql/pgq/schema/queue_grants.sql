-- Grants on the objects of one queue. Source: contract/pgq.md 2.1, 1.2.

-- Gives the tables and sequences of a queue the grants of pgq.event_template.
-- Returns 1.
create or replace function pgq.grant_perms(x_queue_name text)
returns int4
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _queue   pgq.queue;
    _schema  text;
    _table   text;
begin
    select * into _queue from pgq.queue where queue_name = x_queue_name;
    if not found then
        raise exception 'Queue not found';
    end if;

    execute format('grant select on sequence %s, %s to public',
                   pgq.quote_fqname(_queue.queue_event_seq), pgq.quote_fqname(_queue.queue_tick_seq));
    if exists (select 1 from pg_roles where rolname = 'pgq_admin') then
        execute format('grant usage on sequence %s to pgq_admin', pgq.quote_fqname(_queue.queue_event_seq));
    end if;

    _schema := split_part(_queue.queue_data_pfx, '.', 1);
    _table := split_part(_queue.queue_data_pfx, '.', 2);
    perform pgq._grant_perms_from('pgq', 'event_template', _schema, _table);
    for _n in 0 .. _queue.queue_ntables - 1 loop
        perform pgq._grant_perms_from('pgq', 'event_template', _schema, _table || '_' || _n);
    end loop;
    return 1;
end;
$$;

-- Copies the grants of one table to another, grant options too. Returns 1.
create or replace function pgq._grant_perms_from(src_schema text, src_table text, dst_schema text, dst_table text)
returns int4
language plpgsql strict
as $$
declare
    _grant  record;
begin
    for _grant in
        select case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee,
               a.privilege_type, a.is_grantable
          from pg_catalog.pg_class c
          join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         cross join lateral aclexplode(c.relacl) a
         where n.nspname = src_schema
           and c.relname = src_table
           and a.grantee <> c.relowner
    loop
        execute format('grant %s on %I.%I to %s', _grant.privilege_type, dst_schema, dst_table, _grant.grantee)
             || case when _grant.is_grantable then ' with grant option' else '' end;
    end loop;
    return 1;
end;
$$;
