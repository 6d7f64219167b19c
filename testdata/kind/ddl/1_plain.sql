create table public.plain (id int primary key);
