-- What lies between ticks $2 and $3 of queue $1, as the conditions of the query for its
-- events: transactions from low to high that the last tick does not see and the next
-- does, and those in late, which ran at the last tick and had ended at the next. A null
-- tick is no bound. No row: one of the ticks is gone. Source: contract/pgq.md 4.3.
select l.tick_id as last, n.tick_id as next,
       coalesce(l.tick_event_seq, 0) as last_seq, coalesce(n.tick_event_seq, 0) as next_seq,
       case when l.tick_id is null then 0
            when n.tick_id is null then txid_snapshot_xmin(l.tick_snapshot)
            else txid_snapshot_xmax(l.tick_snapshot) end as low,
       coalesce(txid_snapshot_xmax(n.tick_snapshot), 9223372036854775807) as high,
       l.tick_snapshot::text as last_snapshot, n.tick_snapshot::text as next_snapshot,
       array(select x from txid_snapshot_xip(l.tick_snapshot) x
              where txid_visible_in_snapshot(x, n.tick_snapshot) order by x) as late
  from (select $1::int4 as id, $2::int8 as last, $3::int8 as next) q
  left join pgq.tick l on l.tick_queue = q.id and l.tick_id = q.last
  left join pgq.tick n on n.tick_queue = q.id and n.tick_id = q.next
 where (q.last is null or l.tick_id is not null)
   and (q.next is null or n.tick_id is not null)
