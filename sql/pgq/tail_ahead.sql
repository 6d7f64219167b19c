-- The tick of queue $1 up to which to read after tick $2: as far as there are at most
-- $3 events, by the event sequence, but one tick at least. Null: tick $2 is the newest,
-- or gone.
select coalesce(
         (select max(t.tick_id) from pgq.tick t
           where t.tick_queue = $1 and t.tick_id > $2 and t.tick_event_seq <= here.tick_event_seq + $3),
         (select min(t.tick_id) from pgq.tick t where t.tick_queue = $1 and t.tick_id > $2))
  from pgq.tick here
 where here.tick_queue = $1 and here.tick_id = $2
