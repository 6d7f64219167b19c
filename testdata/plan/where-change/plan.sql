-- plan 407b117c2a0b of shop: 1 to recreate; 21 unchanged. 1 step; 1 object needs approval.

-- in report

-- s1 table/shop/public.orders@report: copy again
begin;
select * from londiste.local_remove_table('shop', 'public.orders');
select * from londiste.global_add_table('shop', 'public.orders');
select * from londiste.local_add_table('shop', 'public.orders', null, 'skytools_where=region+%3D+%27eu%27', null);
commit;
