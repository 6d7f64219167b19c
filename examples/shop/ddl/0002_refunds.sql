-- Only where refunds are replicated; @...@ is what the table is called there.
--*-- Local-Table: public.refunds
create index refunds_by_order on @public.refunds@ (order_id);
