-- Who may do what. Source: contract/pgq.md 8.

grant select on pgq_node.node_location, pgq_node.node_info, pgq_node.local_state, pgq_node.subscriber_info
   to pgq_reader, pgq_writer;
grant select, insert, update, delete
   on pgq_node.node_location, pgq_node.node_info, pgq_node.local_state, pgq_node.subscriber_info
   to pgq_admin;

-- Everybody.
grant execute on function
    pgq_node.is_root_node,
    pgq_node.is_leaf_node,
    pgq_node.version
    to public;

-- Nobody: helpers of the functions below.
revoke execute on function
    pgq_node._newest_tick,
    pgq_node._last_tick
    from public;

-- Whoever may shape the cascade.
revoke execute on function
    pgq_node.create_node,
    pgq_node.drop_node,
    pgq_node.demote_root,
    pgq_node.promote_branch,
    pgq_node.set_node_attrs,
    pgq_node.get_worker_state,
    pgq_node.set_global_watermark,
    pgq_node.set_partition_watermark,
    pgq_node.register_location,
    pgq_node.unregister_location,
    pgq_node.upgrade_schema,
    pgq_node.maint_watermark
    from public;
grant execute on function
    pgq_node.create_node,
    pgq_node.drop_node,
    pgq_node.demote_root,
    pgq_node.promote_branch,
    pgq_node.set_node_attrs,
    pgq_node.get_worker_state,
    pgq_node.set_global_watermark,
    pgq_node.set_partition_watermark,
    pgq_node.register_location,
    pgq_node.unregister_location,
    pgq_node.upgrade_schema,
    pgq_node.maint_watermark
    to pgq_admin;

-- Whoever runs consumers on this node.
revoke execute on function
    pgq_node.register_consumer,
    pgq_node.unregister_consumer,
    pgq_node.change_consumer_provider,
    pgq_node.set_consumer_uptodate,
    pgq_node.set_consumer_paused,
    pgq_node.set_consumer_completed,
    pgq_node.set_consumer_error
    from public;
grant execute on function
    pgq_node.register_consumer,
    pgq_node.unregister_consumer,
    pgq_node.change_consumer_provider,
    pgq_node.set_consumer_uptodate,
    pgq_node.set_consumer_paused,
    pgq_node.set_consumer_completed,
    pgq_node.set_consumer_error
    to pgq_writer, pgq_admin;

-- Whoever reads from this node, and the workers of its subscribers.
revoke execute on function
    pgq_node.get_consumer_info,
    pgq_node.get_consumer_state,
    pgq_node.get_queue_locations,
    pgq_node.get_node_info,
    pgq_node.get_subscriber_info,
    pgq_node.register_subscriber,
    pgq_node.unregister_subscriber,
    pgq_node.set_subscriber_watermark
    from public;
grant execute on function
    pgq_node.get_consumer_info,
    pgq_node.get_consumer_state,
    pgq_node.get_queue_locations,
    pgq_node.get_node_info,
    pgq_node.get_subscriber_info,
    pgq_node.register_subscriber,
    pgq_node.unregister_subscriber,
    pgq_node.set_subscriber_watermark
    to pgq_reader, pgq_writer, pgq_admin;
