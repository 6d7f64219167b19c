--*-- Local-Table: public.refunds
create index refunds_at on @public.refunds@ (at);
