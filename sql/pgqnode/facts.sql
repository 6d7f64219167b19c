-- One row per queue node in this database: how far it is. Lags are in seconds; the worker's
-- is known only where the node has the provider's ticks itself, on a branch.
with top as (
    select q.queue_id, q.queue_name,
           (select t.tick_id
              from pgq.tick t
             where t.tick_queue = q.queue_id
             order by t.tick_queue desc, t.tick_id desc
             limit 1) as tick_id
      from pgq.queue q
), reader as (
    select top.queue_name, c.co_name,
           u.sub_last_tick as tick_id,
           extract(epoch from now() - t.tick_time)::float8 as lag
      from pgq.subscription u
      join pgq.consumer c on c.co_id = u.sub_consumer
      join top on top.queue_id = u.sub_queue
      left join pgq.tick t on t.tick_queue = u.sub_queue and t.tick_id = u.sub_last_tick
), mark as (
    select queue_name,
           min(tick_id) filter (where co_name = '.global_watermark') as global,
           min(tick_id) filter (where co_name <> '.global_watermark') as local
      from reader
     group by queue_name
)
select jsonb_build_object(
           'queue', n.queue_name,
           'name', n.node_name,
           'completed_tick', coalesce(case when n.node_type = 'root' then top.tick_id end, w.last_tick_id),
           'queue_top', top.tick_id,
           'worker_lag', case when n.node_type = 'branch' then extract(epoch from now() - t.tick_time)::float8 end,
           'error', w.cur_error,
           'paused', coalesce(w.paused, false),
           'uptodate', coalesce(w.uptodate, false),
           'global_watermark', mark.global,
           'local_watermark',
               case when n.node_type = 'leaf' then w.last_tick_id else coalesce(mark.local, top.tick_id) end,
           'subscribers', (
               select coalesce(jsonb_object_agg(s.subscriber_node, jsonb_build_object(
                          'tick', r.tick_id, 'lag', r.lag, 'watermark', m.tick_id, 'watermark_lag', m.lag)), '{}')
                 from pgq_node.subscriber_info s
                 left join reader r on r.queue_name = s.queue_name and r.co_name = s.worker_name
                 left join reader m on m.queue_name = s.queue_name and m.co_name = s.watermark_name
                where s.queue_name = n.queue_name),
           'consumers', (
               select coalesce(jsonb_object_agg(c.consumer_name, jsonb_build_object(
                          'completed_tick', c.last_tick_id, 'error', c.cur_error, 'uptodate', c.uptodate)), '{}')
                 from pgq_node.local_state c
                where c.queue_name = n.queue_name
                  and c.consumer_name <> n.worker_name))
  from pgq_node.node_info n
  left join pgq_node.local_state w
    on w.queue_name = n.queue_name and w.consumer_name = n.worker_name
  left join top on top.queue_name = n.queue_name and n.node_type <> 'leaf'
  left join mark on mark.queue_name = n.queue_name and n.node_type <> 'leaf'
  left join pgq.tick t on t.tick_queue = top.queue_id and t.tick_id = w.last_tick_id
 order by n.queue_name
