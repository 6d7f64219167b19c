-- plan 48c65abd6dfa of shop: 2 to drop; 4 unchanged. 2 steps.

-- in hub

-- s1 queue/legacy@hub: drop
begin;
select pgq.drop_queue('legacy', true);
commit;

-- s2 consumer/audit/old_report@hub: drop
begin;
select pgq.unregister_consumer('audit', 'old_report');
commit;
