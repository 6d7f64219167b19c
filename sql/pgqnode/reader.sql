-- The consumers of queue $1 that belong to its cascade: the workers and watermarks of
-- its subscribers, and who reads for this node itself.
select s.worker_name from pgq_node.subscriber_info s where s.queue_name = $1
 union
select s.watermark_name from pgq_node.subscriber_info s where s.queue_name = $1
 union
select l.consumer_name from pgq_node.local_state l where l.queue_name = $1
