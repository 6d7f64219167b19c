-- plan 369ee87ddea1 of shop: 2 to update; 13 unchanged, 12 could not be observed. 2 steps.

-- in hub

-- s1 table/shop/public.orders@hub: renew triggers
begin;
select * from londiste.local_change_handler('shop', 'public.orders', array['ignore=total']::text[], null);
commit;

-- in edge1

-- s2 table/shop/public.orders@edge1: renew triggers
begin;
select * from londiste.local_change_handler('shop', 'public.orders', array['ignore=total']::text[], null);
commit;
