-- plan 53d97978100e of shop: 8 to create; 22 unchanged. 8 steps.

-- in hub

-- s1 table/shop/public.items@hub: register
begin;
select * from londiste.local_add_table('shop', 'public.items', null, null, null);
commit;

-- s2 table/shop/public.parts@hub: register
begin;
select * from londiste.local_add_table('shop', 'public.parts', null, null, null);
commit;

-- s3 sequence/shop/public.items_id_seq@hub: register
begin;
select * from londiste.local_add_seq('shop', 'public.items_id_seq');
commit;

-- in edge1

-- s4 table/shop/public.items@edge1: create and register
begin;
create sequence if not exists "public"."items_id_seq" as bigint increment by 1 minvalue 1 maxvalue 9223372036854775807 start with 1 cache 1 no cycle;
create table "public"."items" (
    "id" bigint default nextval('public.items_id_seq'::regclass) not null,
    "order_id" bigint,
    "sku" text,
    constraint "items_pkey" primary key ("id")
);
alter sequence "public"."items_id_seq" owned by "public"."items"."id";
alter table "public"."items" add constraint "items_sku_check" check (sku <> ''::text);
create index "items_order_idx" on "public"."items" using btree (order_id);
select * from londiste.global_add_table('shop', 'public.items');
select * from londiste.local_add_table('shop', 'public.items', null, null, null);
commit;

-- s5 sequence/shop/public.items_id_seq@edge1: register
-- published comes from hub: select last_value from londiste.get_seq_list('shop') where seq_name = 'public.items_id_seq';
begin;
select * from londiste.global_update_seq('shop', 'public.items_id_seq', :'published');
select * from londiste.local_add_seq('shop', 'public.items_id_seq');
commit;

-- in report

-- s6 table/shop/public.items@report: create and register
begin;
create sequence if not exists "public"."items_id_seq" as bigint increment by 1 minvalue 1 maxvalue 9223372036854775807 start with 1 cache 1 no cycle;
create table "public"."items" (
    "id" bigint default nextval('public.items_id_seq'::regclass) not null,
    "order_id" bigint,
    "sku" text,
    constraint "items_pkey" primary key ("id")
);
alter sequence "public"."items_id_seq" owned by "public"."items"."id";
alter table "public"."items" add constraint "items_sku_check" check (sku <> ''::text);
create index "items_order_idx" on "public"."items" using btree (order_id);
select * from londiste.global_add_table('shop', 'public.items');
select * from londiste.local_add_table('shop', 'public.items', null, null, null);
commit;

-- s7 table/shop/public.parts@report: create and register
begin;
create schema if not exists "eu";
create table "eu"."parts" (
    "id" bigint not null,
    "customer" text,
    "region" text,
    "total" numeric(12,2),
    constraint "parts_pkey" primary key ("id")
);
select * from londiste.global_add_table('shop', 'public.parts');
select * from londiste.local_add_table('shop', 'public.parts', null, 'copy_node=%3F', 'eu.parts');
commit;

-- s8 sequence/shop/public.items_id_seq@report: register
-- published comes from edge1: select last_value from londiste.get_seq_list('shop') where seq_name = 'public.items_id_seq';
begin;
select * from londiste.global_update_seq('shop', 'public.items_id_seq', :'published');
select * from londiste.local_add_seq('shop', 'public.items_id_seq');
commit;
