-- The queue with this id, its parent table, and its oldest and newest tick with the
-- event sequence at each; null where it has no ticks. No row: the queue is gone.
-- new_events counts what came after the newest tick, by the sequence.
select q.queue_name as name, q.queue_data_pfx as prefix,
       oldest.tick_id as oldest, coalesce(oldest.tick_event_seq, 0) as oldest_seq,
       newest.tick_id as newest, coalesce(newest.tick_event_seq, 0) as newest_seq,
       greatest(pgq.seq_getval(q.queue_event_seq) - coalesce(newest.tick_event_seq, 0), 0) as new_events
  from pgq.queue q
  left join lateral (
        select t.tick_id, t.tick_event_seq from pgq.tick t
         where t.tick_queue = q.queue_id
         order by t.tick_id limit 1) oldest on true
  left join lateral (
        select t.tick_id, t.tick_event_seq from pgq.tick t
         where t.tick_queue = q.queue_id
         order by t.tick_id desc limit 1) newest on true
 where q.queue_id = $1
