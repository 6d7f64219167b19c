-- The tables that the example replicates; make them on hub.
create table orders (id serial primary key, customer text not null, placed timestamptz not null default now());
create table refunds (id int primary key, order_id int not null, reason text);
create table order_items (order_id int, line int, region text not null, sku text, qty int, primary key (order_id, line));
create table log_web (id bigint primary key, line text);
create table invoices (id int primary key, status text not null default 'draft', total numeric, updated_at timestamptz);
