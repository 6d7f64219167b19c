-- plan ddc3ac5ad567 of shop: 7 to create, 1 to drop; 9 unchanged. 8 steps; 1 object needs approval.

-- in hub

-- s1 consumer/it's "quoted" \ and dotted.queue @home/*@hub: drop
begin;
select pgq.unregister_consumer(E'it''s "quoted" \\ and dotted.queue @home', '*');
commit;

-- s2 node/it's "quoted" \ and dotted.queue @home@hub: create root
begin;
select * from pgq_node.register_location(E'it''s "quoted" \\ and dotted.queue @home', 'hub', 'host=hub dbname=shop', false);
select * from pgq_node.create_node(E'it''s "quoted" \\ and dotted.queue @home', 'root', 'hub', E'it''s "quoted" \\ and dotted.queue @home.hub', null, null, null);
select * from pgq_node.register_location(E'it''s "quoted" \\ and dotted.queue @home', 'edge1', 'host=edge1 dbname=shop', false);
select * from pgq_node.register_subscriber(E'it''s "quoted" \\ and dotted.queue @home', 'edge1', E'it''s "quoted" \\ and dotted.queue @home.edge1', null);
commit;

-- s3 consumer/it's "quoted" \ and dotted.queue @home/o'brien & söhne; drop table x; --@hub: register
begin;
select pgq.register_consumer(E'it''s "quoted" \\ and dotted.queue @home', 'o''brien & söhne; drop table x; --');
commit;

-- s4 table/it's "quoted" \ and dotted.queue @home/Weird Schema.Te"st'$1 [x]@hub: register
begin;
select * from londiste.local_add_table(E'it''s "quoted" \\ and dotted.queue @home', 'Weird Schema.Te"st''E'it''s "quoted" \\ and dotted.queue @home' [x]', null, null, null);
commit;

-- s5 table/it's "quoted" \ and dotted.queue @home/public.üüüüüüüüüüüüüüüüüüüüüüüüüüüüüüü@hub: register
begin;
select * from londiste.local_add_table(E'it''s "quoted" \\ and dotted.queue @home', 'public.üüüüüüüüüüüüüüüüüüüüüüüüüüüüüüü', null, null, null);
commit;

-- in edge1

-- s6 node/it's "quoted" \ and dotted.queue @home@edge1: create branch
-- watermark comes from hub: select last_tick from pgq.get_consumer_info(E'it''s "quoted" \\ and dotted.queue @home', E'it''s "quoted" \\ and dotted.queue @home.edge1');
begin;
select * from pgq_node.register_location(E'it''s "quoted" \\ and dotted.queue @home', 'edge1', 'host=edge1 dbname=shop', false);
select * from pgq_node.register_location(E'it''s "quoted" \\ and dotted.queue @home', 'hub', 'host=hub dbname=shop', false);
select * from pgq_node.create_node(E'it''s "quoted" \\ and dotted.queue @home', 'branch', 'edge1', E'it''s "quoted" \\ and dotted.queue @home.edge1', 'hub', :'watermark', null);
select pgq.set_queue_config(E'it''s "quoted" \\ and dotted.queue @home', 'rotation_period', '2h');
commit;

-- s7 table/it's "quoted" \ and dotted.queue @home/Weird Schema.Te"st'$1 [x]@edge1: create and register
begin;
create schema if not exists "Weird Schema";
create table "Weird Schema"."Te""st'$1 [x]" (
    "id" bigint not null,
    "Sel""ect" text,
    constraint "Te""st'$1 [x]_pkey" primary key ("id")
);
select * from londiste.global_add_table(E'it''s "quoted" \\ and dotted.queue @home', 'Weird Schema.Te"st''E'it''s "quoted" \\ and dotted.queue @home' [x]');
select * from londiste.local_add_table(E'it''s "quoted" \\ and dotted.queue @home', 'Weird Schema.Te"st''E'it''s "quoted" \\ and dotted.queue @home' [x]', null, null, null);
commit;

-- s8 table/it's "quoted" \ and dotted.queue @home/public.üüüüüüüüüüüüüüüüüüüüüüüüüüüüüüü@edge1: register
begin;
select * from londiste.global_add_table(E'it''s "quoted" \\ and dotted.queue @home', 'public.üüüüüüüüüüüüüüüüüüüüüüüüüüüüüüü');
select * from londiste.local_add_table(E'it''s "quoted" \\ and dotted.queue @home', 'public.üüüüüüüüüüüüüüüüüüüüüüüüüüüüüüü', null, null, null);
commit;
