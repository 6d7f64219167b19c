-- One row per event that waits to be delivered to the consumer again: of queue $1, for
-- owner $2, of the ids in $3 (empty: all). due is in seconds; below zero: it waits for
-- the upkeep. Only pgq_admin may look.
select r.ev_id as id,
       coalesce(to_char(r.ev_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), r.ev_time::text) as time,
       extract(epoch from r.ev_retry_after - now())::float8 as due,
       r.ev_retry as retry, r.ev_type as type, r.ev_data as data,
       r.ev_extra1 as extra1, r.ev_extra2 as extra2, r.ev_extra3 as extra3, r.ev_extra4 as extra4
  from pgq.retry_queue r
 where r.ev_queue = $1
   and r.ev_owner = $2
   and (cardinality($3::int8[]) = 0 or r.ev_id = any ($3))
 order by r.ev_retry_after, r.ev_id
