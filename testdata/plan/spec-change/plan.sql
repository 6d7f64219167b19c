-- plan 78b6353b85c2 of shop: 3 to update; 4 unchanged. 3 steps.

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
do E'
declare
    _trigger  name;
begin
    for _trigger in
        select g.tgname
          from pg_catalog.pg_trigger g
          join pg_catalog.pg_proc p on p.oid = g.tgfoid
         where g.tgrelid = ''"public"."invoices"''::regclass
           and p.pronamespace = ''pgq''::regnamespace
           and p.proname in (''jsontriga'', ''logutriga'', ''sqltriga'', ''logtriga'')
           and not g.tgisinternal
           and position(''_londiste_'' in g.tgname) = 0
           and convert_from(substring(g.tgargs for position(''\\000''::bytea in g.tgargs) - 1), getdatabaseencoding()) = ''audit''
    loop
        execute format(''drop trigger %I on %s'', _trigger, ''"public"."invoices"''::regclass);
    end loop;
end
';
create trigger "_skytools_audit" after insert or update or delete on "public"."invoices" for each row execute function pgq.jsontriga('audit', 'ignore=updated_at', 'when=status = ''sent''');
create trigger "_skytools_audit_truncate" after truncate on "public"."invoices" for each statement execute function pgq.jsontriga('audit');
commit;
