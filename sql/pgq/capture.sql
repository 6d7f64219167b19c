-- One row per trigger that feeds a queue. A generated function is called
-- _capture_<queue id>_<table oid> and carries a mark of what it was made from
-- (pgq._capture_mark): it is current while its text, and the table's name, columns
-- and key, are still the same. Generic functions look the table up themselves.
-- The triggers of a generated function belong together: the first of them, for rows
-- or for the insert of a statement, is current only while all of them fire. Those of
-- statements have one more for rows, which refuses changes of the key.
-- Partitions inherit the trigger of their parent and have no row.
with trigger as materialized (
    select g.tgrelid, g.tgname, g.tgtype, g.tgenabled, p.oid as function, p.proname, p.prosrc,
           p.proname ~ '^_capture_\d+_\d+$' as generated,
           (select coalesce(array_agg(convert_from(decode(a.arg, 'hex'), getdatabaseencoding()) order by a.place), '{}')
              from unnest(string_to_array(regexp_replace(encode(g.tgargs, 'hex'), '(..)', '\1 ', 'g'), '00 '))
                   with ordinality a (arg, place)
             where a.place <= g.tgnargs) as args
      from pg_catalog.pg_proc p
      join pg_catalog.pg_trigger g on g.tgfoid = p.oid
     where p.pronamespace = (select oid from pg_catalog.pg_namespace where nspname = 'pgq')
       and (p.proname in ('logutriga', 'jsontriga', 'sqltriga', 'logtriga') or p.proname ~ '^_capture_\d+_\d+$')
       and not g.tgisinternal
       and g.tgparentid = 0
), source as (
    select c.oid, n.nspname || '.' || c.relname as name,
           min(i.indkey::text) is not null as has_key,
           md5(n.nspname || '.' || c.relname || ' '
               || string_agg(a.attname || ' ' || a.atttypid, ',' order by a.attnum)
               || ' ' || coalesce(min(i.indkey::text), '')) as digest
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      left join pg_catalog.pg_index i on i.indrelid = c.oid and i.indisprimary
     where c.oid in (select tgrelid from trigger)
     group by c.oid, n.nspname, c.relname
)
select jsonb_build_object(
         'queue', t.args[1],
         'table', s.name,
         'trigger', t.tgname,
         'on', case when t.generated and t.tgtype = 17 then 'key'
                    when t.tgtype & 1 > 0 then 'row'
                    when t.tgtype & 32 > 0 then 'truncate'
                    when t.tgtype & 16 > 0 then 'update'
                    when t.tgtype & 8 > 0 then 'delete'
                    else 'insert' end,
         'function', t.proname,
         'args', to_jsonb(t.args[2:]),
         'enabled', case t.tgenabled when 'O' then 'origin' when 'A' then 'always'
                                     when 'R' then 'replica' else 'disabled' end,
         'generated', t.generated,
         'is_current', t.tgenabled in ('O', 'A')
                       and (not t.generated
                            or t.fires @> case t.tgtype
                                   when 29 then '{29,32}'
                                   when 4 then case when s.has_key or t.args::text like '%pkey=%' then '{4,8,16,17,32}' else '{4,8,16,32}' end
                                   else '{}' end::int4[])
                       and (not t.generated
                            or coalesce(d.description = 'capture ' || md5(t.prosrc) || ' ' || s.digest, false)))
  from (select *, array_agg(tgtype::int4) filter (where tgenabled in ('O', 'A')) over (partition by tgrelid, function) as fires
          from trigger) t
  join source s on s.oid = t.tgrelid
  left join pg_catalog.pg_description d
    on d.objoid = t.function and d.classoid = 'pg_catalog.pg_proc'::regclass and d.objsubid = 0
 where coalesce(current_setting('skytools.only', true), '') in ('', t.args[1] || '/' || s.name)
 order by t.args[1], s.name, t.tgname
