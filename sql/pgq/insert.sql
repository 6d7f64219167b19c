-- Inserts one event per element of the arrays $2 to $7, in their order, into queue $1:
-- type, data and the four extras. One row each: the id of the event.
select pgq.insert_event($1, e.type, e.data, e.extra1, e.extra2, e.extra3, e.extra4)
  from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
       as e (type, data, extra1, extra2, extra3, extra4)
