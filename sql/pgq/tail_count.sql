-- How many events a consumer of the queue whose parent table is :events would get
-- between two ticks, but for those that are delivered again. $1 to $5 as in
-- tail_events.sql.
select count(*)
  from :events
 where (ev_txid between $1 and $2
        and ($3::text is null or txid_visible_in_snapshot(ev_txid, $3::text::txid_snapshot))
        and ($4::text is null or not txid_visible_in_snapshot(ev_txid, $4::text::txid_snapshot))
        or ev_txid = any ($5::int8[]))
   and ev_owner is null
