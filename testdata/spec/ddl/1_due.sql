-- A column for all nodes.
alter table public.invoices add column due date;
