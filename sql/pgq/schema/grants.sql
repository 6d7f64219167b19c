-- Who may do what. Source: contract/pgq.md 8.
--
-- The roles pgq_reader, pgq_writer and pgq_admin exist already. Functions are
-- closed to everybody first; a generated capture function has been since it was
-- made.
do $$
declare
    _function  text;
begin
    perform pgq._make_writer();  -- only now is everything there that it calls
    for _function in
        select p.oid::regprocedure from pg_catalog.pg_proc p
         where p.pronamespace = 'pgq'::regnamespace
           and pg_catalog.pg_has_role(p.proowner, 'usage')
    loop
        execute format('revoke all on function %s from public', _function);
    end loop;
end
$$;

grant usage on schema pgq to public;

revoke all on pgq.consumer, pgq.queue, pgq.tick, pgq.subscription, pgq.event_template, pgq.retry_queue
  from public, pgq_reader, pgq_writer, pgq_admin;
grant select on pgq.consumer, pgq.queue, pgq.tick, pgq.subscription to public, pgq_reader;
grant select, insert, update, delete on pgq.consumer, pgq.queue, pgq.tick, pgq.subscription, pgq.retry_queue to pgq_admin;
grant select on pgq.event_template to pgq_reader;
grant select, insert, truncate on pgq.event_template to pgq_admin;

grant execute on function
    pgq.seq_getval(text),
    pgq.get_queue_info(),
    pgq.get_queue_info(text),
    pgq.get_consumer_info(),
    pgq.get_consumer_info(text),
    pgq.get_consumer_info(text, text),
    pgq.quote_fqname(text),
    pgq.version(),
    pgq.get_capture_info(),
    pgq.capture_source(text, text, text[])
to public;

-- What the functions above and the triggers call with the rights of whoever calls
-- them. They change nothing that the caller could not change without them.
grant execute on function
    pgq._is_replaying(text),
    pgq._urlencode(text),
    pgq._table_oid(text),
    pgq._base_type(oid),
    pgq._columns(oid),
    pgq._sql_text(bool, text),
    pgq._json_moment(timestamptz),
    pgq._table_digest(oid),
    pgq._is_shape(oid, text),
    pgq._source_reshaped(record, text[]),
    pgq._write_reshaped(text, oid, text[], record, record),
    pgq._sql_json(oid, oid, bool, text),
    pgq._sql_differ(oid, bool, text, text),
    pgq._split_names(text),
    pgq._read_options(text[]),
    pgq._qualify_columns(text, text[]),
    pgq._read_row(text, text[], oid[], oid[], bool[], record),
    pgq._compare_rows(text[], oid[], bool[], bool[], record, record),
    pgq._evaluate(text, text[], record),
    pgq._evaluate_when(text, text[], record),
    pgq._urlencode_row(text[], text[], bool[]),
    pgq._json_row(text[], text[], bool[]),
    pgq._json_type(text, text, text, text[]),
    pgq._sql_row(text, text[], text[], bool[], bool[], bool[]),
    pgq._check_trigger(text, text, text[]),
    pgq._check_truncate(record),
    pgq._write_change(text, text, text, text, oid, text, text, text[], record, record),
    pgq._is_quiet(text[]),
    pgq._source_json(text, text[], oid[], oid[], bool[], text[]),
    pgq._source_differ(text[], oid[], bool[], text, text),
    pgq._capture_facts(text, text, text[]),
    pgq._source_unseen(record, text, text),
    pgq._source_data(record, text),
    pgq._source_type(record, text),
    pgq._is_constant(text),
    pgq._source_text(text, text[]),
    pgq._source_override(record, int4),
    pgq._source_lookup(record),
    pgq._source_inserts(record, text),
    pgq._source_fields(record, text, text, text),
    pgq._source_truncate(record),
    pgq._source_head(record),
    pgq._source_event_of(record, text[]),
    pgq._source_rows(record),
    pgq._source_new_key(record),
    pgq._are_plain(oid[]),
    pgq._qualified(text, bool),
    pgq._needs_no_path(oid, text[]),
    pgq._capture_settings(oid, text[]),
    pgq._source_changed(record, text),
    pgq._source_statements(record),
    pgq._trigger_args(bytea, int4),
    pgq._captures(),
    pgq._is_current(text, text, text[], text)
to public;

grant execute on function
    pgq.batch_event_sql(int8),
    pgq.batch_event_tables(int8),
    pgq.find_tick_helper(int4, int8, timestamptz, int8, int8, interval),
    pgq.register_consumer(text, text),
    pgq.register_consumer_at(text, text, int8),
    pgq.unregister_consumer(text, text),
    pgq.next_batch(text, text),
    pgq.next_batch_info(text, text),
    pgq.next_batch_custom(text, text, interval, int4, interval),
    pgq.get_batch_events(int8),
    pgq.get_batch_info(int8),
    pgq.get_batch_cursor(int8, text, int4),
    pgq.get_batch_cursor(int8, text, int4, text),
    pgq.event_retry(int8, int8, timestamptz),
    pgq.event_retry(int8, int8, int4),
    pgq.batch_retry(int8, int4),
    pgq.force_tick(text),
    pgq.finish_batch(int8)
to pgq_reader;

grant execute on function
    pgq.insert_event(text, text, text),
    pgq.insert_event(text, text, text, text, text, text, text),
    pgq.insert_events(text, text[], text[], text[], text[], text[], text[]),
    pgq.current_event_table(text),
    pgq.jsontriga(),
    pgq.sqltriga(),
    pgq.logutriga()
to pgq_writer;

grant execute on function
    pgq.ticker(text, int8, timestamptz, int8),
    pgq.ticker(text),
    pgq.ticker(),
    pgq._tick_all(),
    pgq.maint_retry_events(),
    pgq.maint_rotate_tables_step1(text),
    pgq.maint_rotate_tables_step2(),
    pgq.maint_tables_to_vacuum(),
    pgq.maint_operations(),
    pgq.upgrade_schema(),
    pgq.grant_perms(text),
    pgq._grant_perms_from(text, text, text, text),
    pgq.tune_storage(text),
    pgq.seq_setval(text, int8),
    pgq.create_queue(text),
    pgq.drop_queue(text, bool),
    pgq.drop_queue(text),
    pgq.set_queue_config(text, text, text),
    pgq.insert_event_raw(text, int8, timestamptz, int4, int4, text, text, text, text, text, text),
    pgq.event_retry_raw(text, text, timestamptz, int8, timestamptz, int4, text, text, text, text, text, text),
    pgq._refuse_event(pgq.queue, text, text, text, text),
    pgq._count_events(pgq.queue, int8),
    pgq._check_insert(text, int8),
    pgq._write_event(text, int8, timestamptz, int4, int4, text, text, text, text, text, text),
    pgq.create_capture(text, text, text, text[]),
    pgq.renew_captures(),
    pgq.drop_capture(text, text),
    pgq._check_capture(oid, text[]),
    pgq._check_statement(oid, bool),
    pgq._capture_triggers(text, text, text, text[]),
    pgq._trigger_name(text, text),
    pgq._set_trigger(regclass, name, int4, text, regprocedure, text[]),
    pgq._when_holds(bool),
    pgq._drop_unused_captures()
to pgq_admin;
