create table public.customers (
    id         bigserial primary key,
    name       text not null,
    mail       text,
    notes      text,
    region     text
);

create table public.orders (
    id        bigserial primary key,
    customer  bigint not null references public.customers,
    amount    numeric(12,2) not null
);
