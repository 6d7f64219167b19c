-- plan 06ec4486a0b2 of shop: 2 to update, 1 to adopt; 19 unchanged. 7 steps; 2 objects need approval.

-- in hub

-- s2 node/shop@hub: close the queue
begin;
select * from pgq_node.demote_root('shop', 1, 'edge1');
commit;

-- s3 node/shop@hub: make the last tick
begin;
select * from pgq_node.set_consumer_paused('shop', 'shop.hub', true);
select * from pgq_node.demote_root('shop', 2, 'edge1');
commit;

-- in edge1

-- s4 node/shop@edge1: pause the worker
begin;
select * from pgq_node.set_consumer_paused('shop', 'shop.edge1', true);
commit;

-- s5 node/shop@edge1: become the root
-- last comes from hub: select last_tick_id from pgq.get_queue_info('shop');
begin;
select * from pgq_node.promote_branch('shop');
select * from pgq_node.register_location('shop', 'hub', 'host=hub dbname=shop', false);
select * from pgq_node.register_location('shop', 'report', 'host=report dbname=shop', false);
select * from pgq_node.register_subscriber('shop', 'hub', 'shop.hub', :'last');
select * from pgq_node.set_consumer_paused('shop', 'shop.edge1', false);
commit;

-- in hub

-- s6 node/shop@hub: become a branch of edge1
begin;
select * from pgq_node.demote_root('shop', 3, 'edge1');
select * from pgq_node.set_consumer_paused('shop', 'shop.hub', false);
commit;

-- s7 node/shop@hub: dismiss
begin;
select * from pgq_node.unregister_subscriber('shop', 'edge1');
commit;
