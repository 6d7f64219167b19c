-- One row per consumer that has events waiting to be delivered again: how many, and
-- in how many seconds the next is due (below zero: it waits for the upkeep). Members
-- share those of their consumer. Only pgq_admin may look.
select jsonb_build_object(
         'queue', q.queue_name,
         'owner', r.ev_owner,
         'events', count(*),
         'due_seconds', extract(epoch from min(r.ev_retry_after) - now())::float8)
  from pgq.retry_queue r
  join pgq.queue q on q.queue_id = r.ev_queue
 group by q.queue_name, r.ev_owner
