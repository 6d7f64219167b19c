-- One row per queue node in this database. Only settings, with the pauses that people
-- make: no ticks, no errors, no uptodate. Consumers that copy a table are left out, as
-- they come and go by themselves.
with attrs as (
    -- node_attrs is an urlencoded dictionary; a key without "=" is null.
    select d.queue_name,
           jsonb_object_agg(d.key, d.value) as dict
      from (
            select n.queue_name, p.nr,
                   max(e.value) filter (where i.nr = 1) as key,
                   max(e.value) filter (where i.nr = 2) as value
              from pgq_node.node_info n
             cross join lateral unnest(string_to_array(n.node_attrs, '&')) with ordinality p (pair, nr)
             cross join lateral unnest(array[
                       split_part(p.pair, '=', 1),
                       case when strpos(p.pair, '=') > 0 then substr(p.pair, strpos(p.pair, '=') + 1) end
                   ]) with ordinality i (raw, nr)
             cross join lateral (
                    select case when i.raw is not null then coalesce(convert_from(string_agg(
                               case when m.part[1] is not null then decode(m.part[1], 'hex')
                                    else convert_to(replace(m.part[2], '+', ' '), 'UTF8') end,
                               ''::bytea order by m.nr), 'UTF8'), '') end as value
                      from regexp_matches(i.raw, '%([0-9A-Fa-f]{2})|([^%]+|%)', 'g') with ordinality m (part, nr)
                   ) e
             where p.pair <> ''
             group by n.queue_name, p.nr
           ) d
     group by d.queue_name
)
select jsonb_strip_nulls(jsonb_build_object(
           'queue', n.queue_name,
           'name', n.node_name,
           'type', n.node_type,
           'provider', w.provider_node,
           'worker', n.worker_name,
           'combined', n.combined_queue,
           'paused', coalesce(w.paused, false),
           'insert_disabled', q.queue_disable_insert,
           'external_ticker', q.queue_external_ticker,
           'rotation_period', extract(epoch from q.queue_rotation_period),
           'stopped', (
               select jsonb_agg(l.queue_name order by l.queue_name)
                 from pgq_node.node_info l
                 join pgq_node.local_state s
                   on s.queue_name = l.queue_name and s.consumer_name = l.worker_name
                where l.combined_queue = n.queue_name
                  and l.node_type = 'leaf'
                  and s.paused)))
       || jsonb_build_object(
           'attrs', coalesce(a.dict, '{}'),
           'locations', (
               select coalesce(jsonb_object_agg(l.node_name,
                          jsonb_build_object('location', l.node_location, 'dead', l.dead)), '{}')
                 from pgq_node.node_location l
                where l.queue_name = n.queue_name),
           'subscribers', (
               select coalesce(jsonb_object_agg(s.subscriber_node,
                          jsonb_build_object('worker', s.worker_name, 'watermark', s.watermark_name)), '{}')
                 from pgq_node.subscriber_info s
                where s.queue_name = n.queue_name),
           'consumers', (
               select coalesce(jsonb_object_agg(c.consumer_name,
                          jsonb_build_object('provider', c.provider_node, 'paused', c.paused)), '{}')
                 from pgq_node.local_state c
                where c.queue_name = n.queue_name
                  and c.consumer_name <> n.worker_name
                  and not starts_with(c.consumer_name, n.worker_name || '.copy.')))
  from pgq_node.node_info n
  left join pgq_node.local_state w
    on w.queue_name = n.queue_name and w.consumer_name = n.worker_name
  left join pgq.queue q
    on q.queue_name = n.queue_name and n.node_type <> 'leaf'
  left join attrs a
    on a.queue_name = n.queue_name
 order by n.queue_name
