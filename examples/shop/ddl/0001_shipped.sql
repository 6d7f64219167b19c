-- Orders say when they were shipped. Runs once on every node, the root first.
alter table public.orders add column shipped timestamptz;
