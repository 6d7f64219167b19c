-- One row per table or sequence that a queue's node here does not replicate: on a root what
-- no queue with its root here replicates, below it what the set has and the node has not.
-- Partitioned parents are left out, as their partitions are replicated, and so is what
-- belongs to an extension. No function of the schemas is called: older ones may be installed.
with held as (
    select queue_name, coalesce(dest_table, table_name) as name from londiste.table_info where local
     union
    select queue_name, seq_name from londiste.seq_info where local
), own as (
    select case c.relkind when 'S' then 'sequence' else 'table' end as kind, n.nspname || '.' || c.relname as name
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'S')
       and c.relpersistence <> 't'
       and n.nspname !~ '^(pg_|pgq$|pgq_)'
       and n.nspname not in ('information_schema', 'londiste', 'skytools', 'txid')
       and not exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
)
select o.kind, r.queue_name as queue, o.name, true as root
  from own o
  join pgq_node.node_info r on r.node_type = 'root'
 where not exists (
        select 1
          from held h
          join pgq_node.node_info n on n.queue_name = h.queue_name and n.node_type = 'root'
         where h.name = o.name)
 union all
select 'table', t.queue_name, t.table_name, false
  from londiste.table_info t
  join pgq_node.node_info n on n.queue_name = t.queue_name and n.node_type <> 'root'
 where not t.local
 union all
select 'sequence', s.queue_name, s.seq_name, false
  from londiste.seq_info s
  join pgq_node.node_info n on n.queue_name = s.queue_name and n.node_type <> 'root'
 where not s.local
 order by 1, 2, 3
