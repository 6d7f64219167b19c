-- What was done here, by consumer and subconsumer. A consumer that has no members
-- is its own subconsumer ''. Source: contract/pgq.md 1.5.

create schema if not exists pgq_ext;
grant usage on schema pgq_ext to public;

-- The last tick up to which everything is done.
create table if not exists pgq_ext.completed_tick (
    consumer_id     text not null,
    subconsumer_id  text not null default '',
    last_tick_id    bigint not null,

    constraint completed_tick_pkey primary key (consumer_id, subconsumer_id)
);

-- The last batch that is done.
create table if not exists pgq_ext.completed_batch (
    consumer_id     text not null,
    subconsumer_id  text not null default '',
    last_batch_id   bigint not null,

    constraint completed_batch_pkey primary key (consumer_id, subconsumer_id)
);

-- The events that are done of a batch that is not.
create table if not exists pgq_ext.completed_event (
    consumer_id     text not null,
    subconsumer_id  text not null default '',
    batch_id        bigint not null,
    event_id        bigint not null,

    constraint completed_event_pkey primary key (consumer_id, subconsumer_id, batch_id, event_id)
);

-- The batch that completed_event has rows of.
create table if not exists pgq_ext.partial_batch (
    consumer_id     text not null,
    subconsumer_id  text not null default '',
    cur_batch_id    bigint not null,

    constraint partial_batch_pkey primary key (consumer_id, subconsumer_id)
);
