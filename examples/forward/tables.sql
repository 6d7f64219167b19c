create table public.customers (
    id         bigserial primary key,
    name       text not null,
    last_seen  timestamptz
);

create table public.orders (
    id        bigserial primary key,
    customer  bigint not null references public.customers,
    amount    numeric(12,2) not null
);
