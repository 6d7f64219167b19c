-- One row per subscription, members too, with all that a person asks about it. A
-- member shares the sub_id of the consumer whose name, and a dot, begins its own.
-- pending counts events up to the
-- newest tick, batch_events those between the ticks of the open batch, both by the
-- event sequence. A member without a batch has no position.
with position as (
       select s.*, q.queue_name, c.co_name, l.tick_time, l.tick_snapshot, l.tick_event_seq as seq,
              n.tick_event_seq as next_seq, q.queue_switch_step2,
              q.queue_switch_time + q.queue_rotation_period as due,
              s.sub_last_tick = min(s.sub_last_tick) over (partition by s.sub_queue) as slowest
         from pgq.subscription s
         join pgq.queue q on q.queue_id = s.sub_queue
         join pgq.consumer c on c.co_id = s.sub_consumer
         left join pgq.tick l on l.tick_queue = s.sub_queue and l.tick_id = s.sub_last_tick
         left join pgq.tick n on n.tick_queue = s.sub_queue and n.tick_id = s.sub_next_tick)
select jsonb_build_object(
         'queue', p.queue_name,
         'name', p.co_name,
         'member_of', (select main.co_name from position main
                        where main.sub_queue = p.sub_queue
                          and main.sub_id = p.sub_id
                          and main.sub_consumer <> p.sub_consumer
                          and starts_with(p.co_name, main.co_name || '.')
                        order by length(main.co_name) limit 1),
         'owner', p.sub_id,
         'tick', p.sub_last_tick,
         'tick_time', p.tick_time,
         'lag_seconds', extract(epoch from now() - p.tick_time)::float8,
         'last_seen_seconds', extract(epoch from now() - p.sub_active)::float8,
         'pending', top.tick_event_seq - p.seq,
         'batch', p.sub_batch,
         'batch_end', p.sub_next_tick,
         'batch_events', p.next_seq - p.seq,
         'slowest', coalesce(p.slowest, false),
         'holds_back_seconds', case when p.slowest and txid_snapshot_xmin(p.tick_snapshot) <= p.queue_switch_step2
                            then greatest(extract(epoch from now() - p.due)::float8, 0) else 0 end)
  from position p
  left join lateral (
        select t.tick_event_seq from pgq.tick t
         where t.tick_queue = p.sub_queue
         order by t.tick_id desc limit 1) top on true
 order by p.queue_name, p.co_name
