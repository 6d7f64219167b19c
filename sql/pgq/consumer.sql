-- One row per consumer of a queue, with the names of its members if it is a
-- cooperative one. Only who reads what: no position, no lag. Members are the rows
-- that share the sub_id of the consumer whose name, and a dot, begins theirs.
with registered as (
       select s.sub_queue, s.sub_id, s.sub_consumer, q.queue_name, c.co_name
         from pgq.subscription s
         join pgq.queue q on q.queue_id = s.sub_queue
         join pgq.consumer c on c.co_id = s.sub_consumer),
     member as (
       select m.sub_queue, m.sub_consumer, main.sub_consumer as main,
              substr(m.co_name, length(main.co_name) + 2) as name
         from registered m
         join registered main on main.sub_queue = m.sub_queue
                             and main.sub_id = m.sub_id
                             and main.sub_consumer <> m.sub_consumer
                             and starts_with(m.co_name, main.co_name || '.')
        where not exists (  -- the shortest name is the main one
              select 1 from registered shorter
               where shorter.sub_queue = main.sub_queue
                 and shorter.sub_id = main.sub_id
                 and shorter.sub_consumer <> main.sub_consumer
                 and starts_with(main.co_name, shorter.co_name || '.')))
select jsonb_build_object(
         'queue', r.queue_name,
         'name', r.co_name,
         'members', coalesce((select jsonb_agg(m.name order by m.name collate "C") from member m
                               where m.sub_queue = r.sub_queue and m.main = r.sub_consumer), '[]'))
  from registered r
 where not exists (select 1 from member m where m.sub_queue = r.sub_queue and m.sub_consumer = r.sub_consumer)
 order by r.queue_name, r.co_name
