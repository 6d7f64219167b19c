package tick_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/runners/tick"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestTicker ticks two queues, tells listeners, and survives the loss of its session.
func TestTicker(t *testing.T) {
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema)
	db.Script(t, `select pgq.create_queue('a'), pgq.create_queue('b');
select pgq.set_queue_config(q, 'ticker_max_lag', '1 ms'), pgq.set_queue_config(q, 'ticker_idle_period', '20 ms') from unnest('{a,b}'::text[]) q`)
	heard := make(chan string, 100)
	listener, err := pg.Dial(t.Context(), db.DSN, pg.Options{Notify: func(channel, payload string) { heard <- channel + " " + payload }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(listener.Close)
	if err := listener.Listen(t.Context(), "pgq_tick"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stats := &tick.Stats{}
	run := func() chan error {
		done := make(chan error, 1)
		k := tick.New(tick.Config{DSN: func(context.Context) (string, error) { return db.DSN, nil }, Every: 10 * time.Millisecond, Stats: stats})
		go func() { done <- k.Run(ctx) }()
		return done
	}
	done := run()
	db.Script(t, "select pgq.insert_event('b', 't', 'x'), pgq.insert_event('b', 't', 'y')")
	wait, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got := map[string]bool{}
	for !got["pgq_tick a"] || !got["pgq_tick b"] {
		if err := listener.Wait(wait); err != nil {
			t.Fatalf("heard %v: %v", got, err)
		}
		got[<-heard] = true
	}
	db.Script(t, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'skytools tick'")
	if err := <-done; err == nil {
		t.Error("a lost session is no error")
	}
	rounds := stats.Rounds.Load()
	done = run()
	for deadline := time.Now().Add(2 * time.Minute); stats.Rounds.Load() <= rounds; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not tick again")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("stopped: %v", err)
	}
	if stats.Ticks.Load() < 2 {
		t.Errorf("%d ticks counted", stats.Ticks.Load())
	}
}

// TestForcedTick: whoever cannot wait for ticker_max_lag asks, by a notification or
// by pgq.force_tick, and is heard between two rounds.
func TestForcedTick(t *testing.T) {
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema)
	db.Script(t, `select pgq.create_queue('a'), pgq.create_queue('we"ird; drop table x');
		select pgq.set_queue_config(queue_name, 'ticker_max_lag', '1 hour'), pgq.set_queue_config(queue_name, 'ticker_idle_period', '1 hour') from pgq.queue;
		select pgq.ticker()`)
	ctx, stop := context.WithCancel(t.Context())
	stats := &tick.Stats{}
	done := make(chan error, 1)
	k := tick.New(tick.Config{DSN: func(context.Context) (string, error) { return db.DSN, nil }, Stats: stats})
	go func() { done <- k.Run(ctx) }()
	ticks := func(queue string) int64 {
		return sandboxtest.One[int64](t, db, "select count(*) from pgq.tick join pgq.queue on queue_id = tick_queue where queue_name = $1", queue)
	}
	until := func(what string, f func() bool) {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	until("a round", func() bool { return stats.Rounds.Load() > 0 })
	for _, ask := range []string{
		`begin; select pgq.insert_event('we"ird; drop table x', 't', 'x'); notify pgq_force_tick, 'we"ird; drop table x'; commit`,
		`select pgq.insert_event('we"ird; drop table x', 't', 'x'), pgq.force_tick('we"ird; drop table x')`,
	} {
		before := ticks(`we"ird; drop table x`)
		db.Script(t, ask)
		until(ask, func() bool { return ticks(`we"ird; drop table x`) > before })
	}
	db.Script(t, "notify pgq_force_tick, 'no such queue'; select pgq.force_tick('nor this one')")
	if n := ticks("a"); n != 2 {
		t.Errorf("a queue that nobody asked for has %d ticks", n)
	}
	if n := stats.Forced.Load(); n != 1 {
		t.Errorf("%d ticks were forced", n)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRounds: what a round says, from which the time of the next one follows.
func TestRounds(t *testing.T) {
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema)
	k := tick.New(tick.Config{DSN: func(context.Context) (string, error) { return db.DSN, nil }})
	round := func() tick.Round {
		t.Helper()
		r, err := k.RunOnce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.Took = 0
		return r
	}
	check := func(what string, got, want tick.Round) {
		t.Helper()
		if want.Due > 0 && got.Due > want.Due/2 && got.Due <= want.Due {
			got.Due = want.Due // what is left of it
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("no queue", round(), tick.Round{Due: -1})
	db.Script(t, `select pgq.create_queue('slow'), pgq.create_queue('quick'), pgq.create_queue('paused');
		select pgq.set_queue_config('slow', 'ticker_max_lag', '2 hours'), pgq.set_queue_config('quick', 'ticker_max_lag', '1 hour'),
		       pgq.set_queue_config('paused', 'ticker_max_lag', '1 s'), pgq.set_queue_config('paused', 'ticker_paused', 'true');`)
	check("new queues", round(), tick.Round{Ticked: 2, Due: -1, MaxLag: time.Hour})
	check("idle", round(), tick.Round{Due: -1, MaxLag: time.Hour})
	db.Script(t, "select pgq.insert_event(q, 't', 'x') from unnest('{slow,slow,paused,paused}'::text[]) q")
	check("events wait", round(), tick.Round{Busy: 1, Due: 2 * time.Hour, MaxLag: time.Hour})
	db.Script(t, "select pgq.set_queue_config('slow', 'ticker_max_count', '1')")
	check("enough events", round(), tick.Round{Ticked: 1, Busy: 1, Due: -1, MaxLag: time.Hour})
	db.Script(t, "drop sequence pgq.event_2_id_seq cascade")
	check("a broken queue", round(), tick.Round{Due: -1, MaxLag: time.Hour})
}

// TestAbsent: a database that does not have pgq yet is looked at again, when that
// was asked for.
func TestAbsent(t *testing.T) {
	db := sandboxtest.Database(t)
	config := tick.Config{DSN: func(context.Context) (string, error) { return db.DSN, nil }, Stats: &tick.Stats{}}
	if err := tick.New(config).Run(t.Context()); err == nil || !runners.Unapplied(err) {
		t.Errorf("without pgq: %v", err)
	}
	config.Absent = 10 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tick.New(config).Run(ctx) }()
	db.Install(t, pgq.Schema)
	for deadline := time.Now().Add(2 * time.Minute); config.Stats.Rounds.Load() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("pgq is not noticed")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
