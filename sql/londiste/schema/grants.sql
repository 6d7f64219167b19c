-- Who may do what. Source: contract/londiste.md 1.1.

grant select on londiste.table_info, londiste.seq_info, londiste.applied_execute, londiste.pending_fkeys
   to public, londiste_reader;
grant select, insert, update, delete
   on londiste.table_info, londiste.seq_info, londiste.applied_execute, londiste.pending_fkeys
   to pgq_admin;
grant usage on sequence londiste.table_info_nr_seq, londiste.seq_info_nr_seq
   to londiste_writer;

-- Everybody.
grant execute on function
    londiste._has_column,
    londiste._only,
    londiste._queue_triggers,
    londiste._trigger_args,
    londiste.find_column_types,
    londiste.find_rel_oid,
    londiste.find_seq_oid,
    londiste.find_table_fkeys,
    londiste.find_table_oid,
    londiste.is_replica_func,
    londiste.make_fqname,
    londiste.quote_fqname,
    londiste.split_fqname,
    londiste.version
    to public;

-- Whoever looks, also from another node.
revoke execute on function
    londiste._coordinate_copy,
    londiste.get_seq_list,
    londiste.get_table_list
    from public;
grant execute on function
    londiste._coordinate_copy,
    londiste.get_seq_list,
    londiste.get_table_list
    to londiste_reader, londiste_writer;

-- The maintenance.
revoke execute on function
    londiste.periodic_maintenance,
    londiste.root_check_seqs(text),
    londiste.root_check_seqs(text, bigint)
    from public;
grant execute on function
    londiste.periodic_maintenance,
    londiste.root_check_seqs(text),
    londiste.root_check_seqs(text, bigint)
    to londiste_writer, pgq_admin;

-- Workers and administrators.
revoke execute on function
    londiste._check_table,
    londiste._drop_triggers,
    londiste._is_captured,
    londiste._make_trigger,
    londiste._owned_sequences,
    londiste._partition_suffix,
    londiste._retarget,
    londiste._trigger_name,
    londiste._trigger_options,
    londiste.create_partition,
    londiste.create_trigger,
    londiste.drop_obsolete_partitions,
    londiste.drop_table_fkey,
    londiste.drop_table_triggers,
    londiste.execute_finish,
    londiste.execute_start(text, text, text, boolean),
    londiste.execute_start(text, text, text, boolean, text),
    londiste.get_table_pending_fkeys,
    londiste.get_valid_pending_fkeys,
    londiste.global_add_table,
    londiste.global_remove_seq,
    londiste.global_remove_table,
    londiste.global_update_seq,
    londiste.is_obsolete_partition,
    londiste.list_obsolete_partitions,
    londiste.local_add_seq,
    londiste.local_add_table(text, text),
    londiste.local_add_table(text, text, text[]),
    londiste.local_add_table(text, text, text[], text),
    londiste.local_add_table(text, text, text[], text, text),
    londiste.local_change_handler,
    londiste.local_remove_seq,
    londiste.local_remove_table,
    londiste.local_set_table_attrs,
    londiste.local_set_table_state,
    londiste.local_set_table_struct,
    londiste.local_show_missing,
    londiste.restore_table_fkey,
    londiste.root_notify_change,
    londiste.set_session_replication_role,
    londiste.table_info_trigger,
    londiste.truncate_trigger,
    londiste.upgrade_schema
    from public;
grant execute on function
    londiste._check_table,
    londiste._drop_triggers,
    londiste._is_captured,
    londiste._make_trigger,
    londiste._owned_sequences,
    londiste._partition_suffix,
    londiste._retarget,
    londiste._trigger_name,
    londiste._trigger_options,
    londiste.create_partition,
    londiste.create_trigger,
    londiste.drop_obsolete_partitions,
    londiste.drop_table_fkey,
    londiste.drop_table_triggers,
    londiste.execute_finish,
    londiste.execute_start(text, text, text, boolean),
    londiste.execute_start(text, text, text, boolean, text),
    londiste.get_table_pending_fkeys,
    londiste.get_valid_pending_fkeys,
    londiste.global_add_table,
    londiste.global_remove_seq,
    londiste.global_remove_table,
    londiste.global_update_seq,
    londiste.is_obsolete_partition,
    londiste.list_obsolete_partitions,
    londiste.local_add_seq,
    londiste.local_add_table(text, text),
    londiste.local_add_table(text, text, text[]),
    londiste.local_add_table(text, text, text[], text),
    londiste.local_add_table(text, text, text[], text, text),
    londiste.local_change_handler,
    londiste.local_remove_seq,
    londiste.local_remove_table,
    londiste.local_set_table_attrs,
    londiste.local_set_table_state,
    londiste.local_set_table_struct,
    londiste.local_show_missing,
    londiste.restore_table_fkey,
    londiste.root_notify_change,
    londiste.set_session_replication_role,
    londiste.table_info_trigger,
    londiste.truncate_trigger,
    londiste.upgrade_schema
    to londiste_writer;
