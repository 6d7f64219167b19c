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

create table public.visits (
    id     bigint primary key,
    at     timestamptz not null,
    mail   text,
    page   text,
    agent  text
);

create table public.mails (
    id       bigint primary key,
    rcpt     text not null,
    subject  text not null
);
