-- One row per table that a queue's set knows. Only settings: how far its copy is, is
-- progress, but for whether the copy has dropped indexes that it will make again. Triggers are those of the table here that publish to the queue, in name order.
-- No function of the schemas is called: older ones may be installed. A generated trigger
-- function is current when it is as its mark says (see pgq.sql beside package pgq's Go).
with info as materialized (
    select t.queue_name, t.table_name, t.local, t.table_attrs, coalesce(t.dest_table, t.table_name) as dest,
           t.dropped_ddl is not null as rebuilding
      from londiste.table_info t
     where coalesce(current_setting('skytools.only', true), '') in ('', t.queue_name || '/' || t.table_name)
), relation as materialized (
    select c.oid, n.nspname || '.' || c.relname as name
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p')
       and n.nspname || '.' || c.relname in (select dest from info)
), found as (
    select t.tgrelid, t.tgname, t.tgtype, t.tgenabled,
           n.nspname || '.' || p.proname as function,
           p.oid as function_oid, p.prosrc,
           p.proname like '\_capture\_%' as generated,
           (select array_agg(convert_from(decode(replace(a.hex, ' ', ''), 'hex'), getdatabaseencoding()) order by a.nr)
              from string_to_array(regexp_replace(encode(t.tgargs, 'hex'), '(..)', '\1 ', 'g'), '00 ') parts,
                   unnest(parts) with ordinality a (hex, nr)
             where a.nr < cardinality(parts)) as args
      from relation r
      join pg_trigger t on t.tgrelid = r.oid
      join pg_proc p on p.oid = t.tgfoid
      join pg_namespace n on n.oid = p.pronamespace
     where not t.tgisinternal
       and t.tgparentid = 0
       and (n.nspname = 'pgq'
            and (p.proname in ('sqltriga', 'logutriga', 'jsontriga') or p.proname like '\_capture\_%')
         or n.nspname = 'londiste' and p.proname = 'truncate_trigger')
), source as (
    select r.oid,
           md5(r.name || ' '
               || string_agg(a.attname || ' ' || a.atttypid, ',' order by a.attnum)
               || ' ' || coalesce(min(i.indkey::text), '')) as digest
      from relation r
      join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
      left join pg_index i on i.indrelid = r.oid and i.indisprimary
     group by r.oid, r.name
), triggers as (
    select f.tgrelid, f.args[1] as queue_name,
           jsonb_agg(jsonb_build_object(
               'name', f.tgname,
               'function', f.function,
               'timing', case when f.tgtype & 2 > 0 then 'before' else 'after' end,
               'events', to_jsonb(array_remove(array[
                   case when f.tgtype & 4 > 0 then 'insert' end,
                   case when f.tgtype & 16 > 0 then 'update' end,
                   case when f.tgtype & 8 > 0 then 'delete' end,
                   case when f.tgtype & 32 > 0 then 'truncate' end], null)),
               'args', to_jsonb(f.args),
               'enabled', f.tgenabled in ('O', 'A'),
               'generated', f.generated,
               'is_current', not f.generated
                             or coalesce(d.description = 'capture ' || md5(f.prosrc) || ' ' || s.digest, false))
             order by f.tgname) as list
      from found f
      join source s on s.oid = f.tgrelid
      left join pg_description d
        on d.objoid = f.function_oid and d.classoid = 'pg_proc'::regclass and d.objsubid = 0
     group by f.tgrelid, f.args[1]
)
select jsonb_build_object(
           'queue', t.queue_name,
           'name', t.table_name,
           'local', t.local,
           'dest', t.dest,
           'attrs', t.table_attrs,
           'triggers', coalesce(g.list, '[]'))
       || case when t.rebuilding then '{"rebuilding": true}' else '{}' end::jsonb
  from info t
  left join relation r
    on r.name = t.dest
  left join triggers g
    on g.tgrelid = r.oid and g.queue_name = t.queue_name
 order by t.queue_name, t.table_name
