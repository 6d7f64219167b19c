-- One row per queue. Only settings: no ticks, no lag, no table in use. Intervals
-- are seconds. Works on every PgQ from 3.2 on.
select jsonb_build_object(
         'name', queue_name,
         'ticker_max_lag', extract(epoch from queue_ticker_max_lag)::float8,
         'ticker_idle_period', extract(epoch from queue_ticker_idle_period)::float8,
         'rotation_period', extract(epoch from queue_rotation_period)::float8,
         'ticker_max_count', queue_ticker_max_count,
         'ticker_paused', queue_ticker_paused,
         'external_ticker', queue_external_ticker,
         'disable_insert', queue_disable_insert,
         'per_tx_limit', queue_per_tx_limit)
  from pgq.queue
 order by queue_name
