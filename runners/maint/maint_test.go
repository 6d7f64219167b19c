package maint_test

import (
	"context"
	"testing"

	"github.com/skytools-go/skytools/runners/maint"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestMaintain rotates one queue although the extra operation of another fails, and
// does not run as a superuser what any pgq_admin could have named.
func TestMaintain(t *testing.T) {
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema)
	db.Script(t, `select pgq.create_queue('a'), pgq.create_queue('b');
update pgq.queue set queue_switch_time = now() - interval '1 day';
create table public.witness (what text);
create function public.extra(text) returns int language sql as $$ insert into witness values ($1); select 0 $$;
update pgq.queue set queue_extra_maint = '{pgq.no_such_function, public.extra}' where queue_name = 'a'`)
	stats := &maint.Stats{}
	k := maint.New(maint.Config{DSN: func(context.Context) (string, error) { return db.DSN, nil }, Stats: stats})
	if err := k.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := sandboxtest.One[int64](t, db, "select count(*) from pgq.queue where queue_cur_table = 1 and queue_switch_step2 is not null"); n != 2 {
		t.Errorf("%d queues rotated; want 2", n)
	}
	if n := sandboxtest.One[int64](t, db, "select count(*) from witness"); n != 0 {
		t.Error("a superuser ran an extra function")
	}
	if stats.Failures.Load() != 2 {
		t.Errorf("%d failures counted; want 2", stats.Failures.Load())
	}
}

func TestRetry(t *testing.T) {
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema)
	db.Script(t, "select pgq.create_queue('q'), pgq.register_consumer('q', 'c')")
	db.Script(t, "select pgq.insert_event('q', 't', i::text) from generate_series(1, 25) i")
	db.Script(t, "update pgq.queue set queue_ticker_max_lag = '0'; select pgq.ticker()")
	db.Script(t, "select pgq.batch_retry(pgq.next_batch('q', 'c'), 0)")
	k := maint.New(maint.Config{DSN: func(context.Context) (string, error) { return db.DSN, nil }})
	if n, err := k.Retry(t.Context()); n != 25 || err != nil {
		t.Errorf("retried %d, %v; want 25", n, err)
	}
	if n, err := k.Retry(t.Context()); n != 0 || err != nil {
		t.Errorf("again: %d, %v; want none", n, err)
	}
}
