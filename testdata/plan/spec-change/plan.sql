-- plan 4182dec38b44 of shop: 3 to update; 4 unchanged. 3 steps.

-- in hub

-- s1 queue/audit@hub: set
begin;
select pgq.set_queue_config('audit', 'ticker_max_lag', '500ms');
update pgq.queue set queue_per_tx_limit = 1000 where queue_name = 'audit';
commit;

-- s2 consumer/audit/indexer@hub: change members
begin;
select pgq_coop.register_subconsumer('audit', 'indexer', 'w3');
select pgq_coop.unregister_subconsumer('audit', 'indexer', 'w1', 0);
commit;

-- s3 capture/audit/public.invoices@hub: renew
begin;
select pgq.drop_capture('audit', 'public.invoices');
select pgq.create_capture('audit', 'public.invoices', '_skytools_audit', array['ignore=updated_at', 'when=status = ''sent''']::text[]);
commit;
