-- The newest tick of queue $1 that has at least $2 events between it and the newest
-- of all, by the event sequence; the oldest one where there are fewer.
select coalesce(
         (select t.tick_id from pgq.tick t, (
                 select max(n.tick_event_seq) as seq from pgq.tick n where n.tick_queue = $1) newest
           where t.tick_queue = $1 and t.tick_event_seq <= newest.seq - $2
           order by t.tick_id desc limit 1),
         (select min(t.tick_id) from pgq.tick t where t.tick_queue = $1))
