-- The ticks of queue $1 around tick $2, or around the time $3 when $2 is null: here is
-- that tick, or the newest that is not after that time; before and after are the next
-- ones that exist.
select case when $2::int8 is null
            then (select max(t.tick_id) from pgq.tick t where t.tick_queue = $1 and t.tick_time <= $3::text::timestamptz)
            else (select t.tick_id from pgq.tick t where t.tick_queue = $1 and t.tick_id = $2) end as here,
       (select max(t.tick_id) from pgq.tick t
         where t.tick_queue = $1 and case when $2::int8 is null then t.tick_time < $3::text::timestamptz else t.tick_id < $2 end) as before,
       (select min(t.tick_id) from pgq.tick t
         where t.tick_queue = $1 and case when $2::int8 is null then t.tick_time > $3::text::timestamptz else t.tick_id > $2 end) as after
