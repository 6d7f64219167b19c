-- One row per standby that the server knows: by a physical slot, or because commits wait
-- for it. How far one is stands elsewhere.
with named as (
    select distinct pg_catalog.btrim(name, ' "') as name
      from pg_catalog.regexp_split_to_table(
               pg_catalog.regexp_replace(current_setting('synchronous_standby_names'), '^\s*(?:(?:first|any)\s+)?\d+\s*\((.*)\)\s*$', '\1', 'i'), ',') as name
     where pg_catalog.btrim(name) <> ''
), slots as (
    select slot_name::text as name
      from pg_catalog.pg_replication_slots
     where slot_type = 'physical' and not temporary
)
select jsonb_build_object('name', name, 'slot', slots.name is not null, 'sync', named.name is not null)
  from slots
  full join named using (name)
 where current_setting('skytools.only', true) is null or current_setting('skytools.only', true) in ('', name)
