--*-- Need-Table: public.plain
alter table public.plain add column at timestamptz;
