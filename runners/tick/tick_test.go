package tick_test

import (
	"context"
	"testing"
	"time"

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
	for deadline := time.Now().Add(20 * time.Second); stats.Rounds.Load() <= rounds; time.Sleep(5 * time.Millisecond) {
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
