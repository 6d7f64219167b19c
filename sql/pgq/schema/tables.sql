-- Tables and sequences that every queue shares. Source: contract/pgq.md 1.1.

create schema if not exists pgq;

-- Names of consumers. A consumer may be subscribed to several queues.
create table if not exists pgq.consumer (
    co_id    serial,
    co_name  text not null,

    constraint consumer_pkey primary key (co_id),
    constraint consumer_name_uq unique (co_name)
);

-- One row per queue. queue_switch_step1 and queue_switch_step2 are the ids of the
-- two transactions of the last rotation; step2 is null between the two.
create table if not exists pgq.queue (
    queue_id                  serial,
    queue_name                text not null,

    queue_ntables             int4 not null default 3,
    queue_cur_table           int4 not null default 0,
    queue_rotation_period     interval not null default '2 hours',
    queue_switch_step1        int8 not null default txid_current(),
    queue_switch_step2        int8 default txid_current(),
    queue_switch_time         timestamptz not null default now(),

    queue_external_ticker     boolean not null default false,
    queue_disable_insert      boolean not null default false,
    queue_ticker_paused       boolean not null default false,

    queue_ticker_max_count    int4 not null default 500,
    queue_ticker_max_lag      interval not null default '3 seconds',
    queue_ticker_idle_period  interval not null default '1 minute',
    queue_per_tx_limit        int4,

    queue_data_pfx            text not null,
    queue_event_seq           text not null,
    queue_tick_seq            text not null,

    queue_extra_maint         text[],

    constraint queue_pkey primary key (queue_id),
    constraint queue_name_uq unique (queue_name)
);

-- Points in the stream of each queue. A batch is what lies between two of them.
create table if not exists pgq.tick (
    tick_queue      int4 not null,
    tick_id         int8 not null,
    tick_time       timestamptz not null default now(),
    tick_snapshot   txid_snapshot not null default txid_current_snapshot(),
    tick_event_seq  int8 not null,

    constraint tick_pkey primary key (tick_queue, tick_id),
    constraint tick_queue_fkey foreign key (tick_queue) references pgq.queue (queue_id)
);

create sequence if not exists pgq.batch_id_seq;

-- Positions. sub_id is not unique: the members of a cooperative consumer share
-- the one of their main consumer, and with it the events that were retried.
create table if not exists pgq.subscription (
    sub_id         serial not null,
    sub_queue      int4 not null,
    sub_consumer   int4 not null,
    sub_last_tick  int8,
    sub_active     timestamptz not null default now(),
    sub_batch      int8,
    sub_next_tick  int8,

    constraint subscription_pkey primary key (sub_queue, sub_consumer),
    constraint subscription_batch_idx unique (sub_batch),
    constraint sub_queue_fkey foreign key (sub_queue) references pgq.queue (queue_id),
    constraint sub_consumer_fkey foreign key (sub_consumer) references pgq.consumer (co_id)
);

-- The root of the inheritance tree of all events. It holds no rows itself.
create table if not exists pgq.event_template (
    ev_id      int8 not null,
    ev_time    timestamptz not null,

    ev_txid    int8 not null default txid_current(),
    ev_owner   int4,
    ev_retry   int4,

    ev_type    text,
    ev_data    text,
    ev_extra1  text,
    ev_extra2  text,
    ev_extra3  text,
    ev_extra4  text
);

-- Events that wait to be delivered again, to one subscription only.
create table if not exists pgq.retry_queue (
    ev_retry_after  timestamptz not null,
    ev_queue        int4 not null,

    ev_id           int8 not null,
    ev_time         timestamptz not null,
    ev_txid         int8,
    ev_owner        int4 not null,
    ev_retry        int4,

    ev_type         text,
    ev_data         text,
    ev_extra1       text,
    ev_extra2       text,
    ev_extra3       text,
    ev_extra4       text,

    constraint rq_pkey primary key (ev_owner, ev_id),
    constraint rq_queue_id_fkey foreign key (ev_queue) references pgq.queue (queue_id)
);

create index if not exists rq_retry_idx on pgq.retry_queue (ev_retry_after);

-- What databases made by 3.2.6 and before lack. The catalog is asked first, so
-- that running this again takes no lock on a busy table.
do $$
begin
    if not exists (select 1 from pg_catalog.pg_attribute
                    where attrelid = 'pgq.queue'::regclass and attname = 'queue_extra_maint' and not attisdropped) then
        alter table pgq.queue add column queue_extra_maint text[];
    end if;
    if exists (select 1 from pg_catalog.pg_attribute
                where attrelid = 'pgq.subscription'::regclass and attname = 'sub_last_tick' and attnotnull) then
        alter table pgq.subscription alter column sub_last_tick drop not null;
    end if;
end
$$;
