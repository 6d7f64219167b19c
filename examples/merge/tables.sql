create table public.orders (
    shop    text not null default 'north' check (shop = 'north'),
    id      bigserial,
    amount  numeric(12,2) not null,
    primary key (shop, id)
);
