-- One row per queue, with all that a person asks about it: settings, tables, ticks.
-- Times are text in UTC, periods are seconds; bytes count a table with its indexes.
-- events_per_second is measured over the newest twenty ticks. Two readings differ
-- always.
select jsonb_build_object(
         'id', q.queue_id,
         'name', q.queue_name,
         'prefix', q.queue_data_pfx,
         'settings', jsonb_build_object(
             'ticker_max_lag', extract(epoch from q.queue_ticker_max_lag)::float8,
             'ticker_max_count', q.queue_ticker_max_count,
             'ticker_idle_period', extract(epoch from q.queue_ticker_idle_period)::float8,
             'rotation_period', extract(epoch from q.queue_rotation_period)::float8,
             'ticker_paused', q.queue_ticker_paused,
             'external_ticker', q.queue_external_ticker,
             'disable_insert', q.queue_disable_insert,
             'per_tx_limit', q.queue_per_tx_limit),
         'tick', newest.tick_id,
         'tick_time', newest.tick_time,
         'tick_age_seconds', extract(epoch from i.ticker_lag)::float8,
         'oldest_tick', oldest.tick_id,
         'oldest_tick_time', oldest.tick_time,
         'new_events', greatest(i.ev_new, 0),
         'events_per_second', i.ev_per_sec,
         'current_table', q.queue_cur_table,
         'switched', q.queue_switch_time,
         'switching', q.queue_switch_step2 is null,
         'due_seconds', extract(epoch from now() - q.queue_switch_time - q.queue_rotation_period)::float8,
         'tables', (select jsonb_agg(jsonb_build_object(
                                         'name', q.queue_data_pfx || '_' || n,
                                         'bytes', pg_total_relation_size(to_regclass(
                                             quote_ident(split_part(q.queue_data_pfx, '.', 1)) || '.'
                                             || quote_ident(split_part(q.queue_data_pfx, '.', 2) || '_' || n))))
                                     order by n)
                      from generate_series(0, q.queue_ntables - 1) n))
  from pgq.queue q
  join pgq.get_queue_info() i on i.queue_name = q.queue_name
  left join lateral (
        select t.tick_id, t.tick_time from pgq.tick t
         where t.tick_queue = q.queue_id
         order by t.tick_id desc limit 1) newest on true
  left join lateral (
        select t.tick_id, t.tick_time from pgq.tick t
         where t.tick_queue = q.queue_id
         order by t.tick_id limit 1) oldest on true
 order by q.queue_name
