-- The tables of the cascade. Source: contract/pgq.md 1.3.

create schema if not exists pgq_node;
grant usage on schema pgq_node to public;

-- Where each node of a queue is reached, as every other node knows it.
create table if not exists pgq_node.node_location (
    queue_name      text not null,
    node_name       text not null,
    node_location   text not null,                  -- conninfo
    dead            boolean not null default false, -- set by tag-dead, before a failover

    constraint node_location_pkey primary key (queue_name, node_name)
);

-- This database's node of a queue: at most one per queue.
create table if not exists pgq_node.node_info (
    queue_name      text not null,
    node_type       text not null,
    node_name       text not null,
    worker_name     text,
    combined_queue  text,   -- leaf only: the local queue that it is merged into
    node_attrs      text,   -- urlencoded dictionary

    constraint node_info_pkey primary key (queue_name),
    constraint node_info_queue_name_node_name_fkey
        foreign key (queue_name, node_name) references pgq_node.node_location (queue_name, node_name),
    constraint node_info_node_type_check check (node_type in ('root', 'branch', 'leaf')),
    constraint node_info_check check (
        case
        when node_type = 'root'   then worker_name is not null and combined_queue is null
        when node_type = 'branch' then worker_name is not null and combined_queue is null
        when node_type = 'leaf'   then worker_name is not null
        else false
        end)
);

-- How far each cascaded consumer of this node has come: the worker, and others beside it.
create table if not exists pgq_node.local_state (
    queue_name      text not null,
    consumer_name   text not null,
    provider_node   text not null,
    last_tick_id    bigint not null,                -- completed, by the provider's numbers
    cur_error       text,
    paused          boolean not null default false,
    uptodate        boolean not null default false, -- the consumer has seen the last change of this row

    constraint local_state_pkey primary key (queue_name, consumer_name),
    constraint local_state_queue_name_fkey
        foreign key (queue_name) references pgq_node.node_info (queue_name),
    constraint local_state_queue_name_provider_node_fkey
        foreign key (queue_name, provider_node) references pgq_node.node_location (queue_name, node_name)
);

-- The nodes that read from this one. The keys to pgq.consumer forbid to unregister a
-- subscriber's consumers first: delete the row here, then unregister.
create table if not exists pgq_node.subscriber_info (
    queue_name      text not null,
    subscriber_node text not null,
    worker_name     text not null,  -- consumer of this queue
    watermark_name  text not null,  -- consumer that stays where the slowest node below is

    constraint subscriber_info_pkey primary key (queue_name, subscriber_node),
    constraint subscriber_info_queue_name_fkey
        foreign key (queue_name) references pgq_node.node_info (queue_name),
    constraint subscriber_info_queue_name_subscriber_node_fkey
        foreign key (queue_name, subscriber_node) references pgq_node.node_location (queue_name, node_name),
    constraint subscriber_info_worker_name_fkey
        foreign key (worker_name) references pgq.consumer (co_name),
    constraint subscriber_info_watermark_name_fkey
        foreign key (watermark_name) references pgq.consumer (co_name)
);
