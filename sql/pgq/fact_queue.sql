-- One row per queue: how far it is. ev_new counts events after the newest tick,
-- ticker_lag is in seconds, bytes counts the data tables with their indexes.
select jsonb_build_object(
         'name', i.queue_name,
         'ev_new', i.ev_new,
         'last_tick_id', i.last_tick_id,
         'ticker_lag', extract(epoch from i.ticker_lag)::float8,
         'bytes', (select sum(pg_total_relation_size(to_regclass(
                              quote_ident(split_part(q.queue_data_pfx, '.', 1)) || '.'
                              || quote_ident(split_part(q.queue_data_pfx, '.', 2) || '_' || n))))
                     from generate_series(0, q.queue_ntables - 1) n))
  from pgq.get_queue_info() i
  join pgq.queue q on q.queue_name = i.queue_name
 order by i.queue_name
