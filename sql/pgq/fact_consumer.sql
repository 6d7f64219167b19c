-- One row per subscription, members too: how far it is. lag, last_seen and
-- holds_back are in seconds; pending counts events up to the newest tick. The
-- slowest consumer of a queue is the one whose position is the oldest; a rotation
-- that is due waits for it, and holds_back says for how long already.
with position as (
       select i.*, q.queue_id, s.tick_snapshot,
              i.last_tick = min(i.last_tick) over (partition by i.queue_name) as slowest,
              q.queue_switch_step2, q.queue_switch_time + q.queue_rotation_period as due
         from pgq.get_consumer_info() i
         join pgq.queue q on q.queue_name = i.queue_name
         left join pgq.tick s on s.tick_queue = q.queue_id and s.tick_id = i.last_tick)
select jsonb_build_object(
         'queue', queue_name,
         'name', consumer_name,
         'pending', pending_events,
         'lag', extract(epoch from lag)::float8,
         'last_seen', extract(epoch from last_seen)::float8,
         'slowest', coalesce(slowest, false),
         'holds_back', case when slowest and txid_snapshot_xmin(tick_snapshot) <= queue_switch_step2
                            then greatest(extract(epoch from now() - due)::float8, 0) else 0 end)
  from position
 order by queue_name, consumer_name
