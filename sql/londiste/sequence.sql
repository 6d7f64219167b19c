-- One row per sequence that a queue's set knows. No values: they always move.
select jsonb_build_object(
           'queue', s.queue_name,
           'name', s.seq_name,
           'local', s.local)
  from londiste.seq_info s
 order by s.queue_name, s.seq_name
