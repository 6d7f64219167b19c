-- What Londiste keeps on each node. Source: contract/londiste.md 1.1.

create schema if not exists londiste;
grant usage on schema londiste to public;

-- One row per table that a queue's set knows; it is replicated here when it is local.
create table if not exists londiste.table_info (
    nr              serial not null,                -- order of listing
    queue_name      text not null,
    table_name      text not null,                  -- global: the same on every node, as events carry it
    local           boolean not null default false,
    merge_state     text,                           -- NULL, in-copy, catching-up, wanna-sync:T, do-sync:T, ok
    custom_snapshot text,                           -- of the transaction on the provider that copied
    dropped_ddl     text,                           -- to run when a merge copy ends
    table_attrs     text,                           -- urlencoded dictionary
    dest_table      text,                           -- the table here, when it is called otherwise

    constraint table_info_pkey primary key (queue_name, table_name),
    constraint table_info_queue_name_fkey
        foreign key (queue_name) references pgq_node.node_info (queue_name) on delete cascade,
    constraint table_info_check
        check (dropped_ddl is null or merge_state in ('in-copy', 'catching-up'))
);

-- One row per sequence that a queue's set knows.
create table if not exists londiste.seq_info (
    nr              serial not null,
    queue_name      text not null,
    seq_name        text not null,
    local           boolean not null default false,
    last_value      bigint not null,                -- last published, ahead of the real one

    constraint seq_info_pkey primary key (queue_name, seq_name),
    constraint seq_info_queue_name_fkey
        foreign key (queue_name) references pgq_node.node_info (queue_name) on delete cascade
);

-- The DDL scripts that ran here. The queue is not in the key: a script that arrives from
-- several merged queues runs once.
create table if not exists londiste.applied_execute (
    queue_name      text not null,
    execute_file    text not null,
    execute_time    timestamptz not null default now(),
    execute_sql     text not null,
    execute_attrs   text,                           -- urlencoded dictionary

    constraint applied_execute_pkey primary key (execute_file)
);

-- Foreign keys taken off while a table is copied, by the names of the tables here.
create table if not exists londiste.pending_fkeys (
    from_table      text not null,
    to_table        text not null,
    fkey_name       text not null,
    fkey_def        text not null,                  -- a whole alter table statement

    constraint pending_fkeys_pkey primary key (from_table, fkey_name)
);
