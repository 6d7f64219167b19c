-- Who may do what; nobody reads the tables. Source: contract/pgq.md 8.
revoke all on all functions in schema pgq_ext from public;
grant execute on function pgq_ext.version() to public;
grant execute on function
    pgq_ext.upgrade_schema(),
    pgq_ext.is_batch_done(text, text, int8),
    pgq_ext.is_batch_done(text, int8),
    pgq_ext.set_batch_done(text, text, int8),
    pgq_ext.set_batch_done(text, int8),
    pgq_ext.is_event_done(text, text, int8, int8),
    pgq_ext.is_event_done(text, int8, int8),
    pgq_ext.set_event_done(text, text, int8, int8),
    pgq_ext.set_event_done(text, int8, int8),
    pgq_ext.get_last_tick(text, text),
    pgq_ext.get_last_tick(text),
    pgq_ext.set_last_tick(text, text, int8),
    pgq_ext.set_last_tick(text, int8)
to pgq_writer;
