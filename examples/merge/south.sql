create table public.orders (
    shop    text not null default 'south' check (shop = 'south'),
    id      bigserial,
    amount  numeric(12,2) not null,
    primary key (shop, id)
);
