-- Events of the queue whose parent table is :events that lie in a window: $1 to $5 are
-- its low, high, next_snapshot, last_snapshot and late. $6: also events that are
-- delivered again, which are for one consumer each. $7 types, where one of a captured
-- table is its operation too, and $8 tables; empty: all. What comes after the event at
-- $9, $10, $11; null: from the start. Several events may have one id, so the place of
-- the row tells them apart.
select ev_id as id,
       coalesce(to_char(ev_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), ev_time::text) as time,
       ev_txid as txid, ev_owner as owner, ev_retry as retry, ev_type as type, ev_data as data,
       ev_extra1 as extra1, ev_extra2 as extra2, ev_extra3 as extra3, ev_extra4 as extra4,
       tableoid::int8 as table_id, ctid::text as place
  from :events
 where (ev_txid between $1 and $2
        and ($3::text is null or txid_visible_in_snapshot(ev_txid, $3::text::txid_snapshot))
        and ($4::text is null or not txid_visible_in_snapshot(ev_txid, $4::text::txid_snapshot))
        or ev_txid = any ($5::int8[]))
   and ($6 or ev_owner is null)
   and (cardinality($7::text[]) = 0
        or ev_type = any ($7)
        or split_part(ev_type, ':', 1) = any ($7)
        or substring(ev_type from '^\{"op":"(\w+)"') = any ($7))
   and (cardinality($8::text[]) = 0 or ev_extra1 = any ($8))
   and ($9::int8 is null or (ev_id, tableoid, ctid) > ($9, $10::int8::oid, $11::text::tid))
   and (:condition
       )
 order by ev_id :direction, tableoid :direction, ctid :direction
