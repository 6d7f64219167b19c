package consume_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/runners/group"
	"github.com/skytools-go/skytools/sql/pg"
)

// start runs a consumer in the background, and returns what ends it and its result.
func start(t *testing.T, ctx context.Context, run func(context.Context) error) (stop func(), ended chan error) {
	ctx, stop = context.WithCancel(ctx)
	ended = make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(stop)
	return stop, ended
}

// With ticks that are announced nobody waits for Poll; without, Poll is enough.
func TestWakesUp(t *testing.T) {
	for _, announced := range []bool{true, false} {
		w := newWorld(t, false)
		if !announced {
			w.queue.Script(t, "create or replace function pgq._announce_tick(i_queue_name text) returns void language plpgsql as 'begin end'")
		}
		config := w.config()
		if announced {
			config.Poll = time.Hour
		}
		seen := make(chan string)
		stop, ended := start(t, t.Context(), func(ctx context.Context) error {
			return consume.Run(ctx, config, consume.Each(func(_ context.Context, _ *pg.Tx, e *consume.Event) error {
				seen <- e.Data
				return nil
			}))
		})
		waitFor(t, w.queue, "select exists (select 1 from pg_stat_activity where application_name = 'consume q/c')")
		for _, text := range []string{"a", "b", "c"} {
			w.insert(text)
			w.tick()
			select {
			case got := <-seen:
				if got != text {
					t.Errorf("seen: %s", got)
				}
			case err := <-ended:
				t.Fatal(err)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// The first request to stop lets the batch in hand finish, the second does not.
func TestStop(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.target.Script(t, "create table done (data text)")
		hard, cut := context.WithCancel(t.Context())
		reached, proceed := make(chan bool), make(chan bool)
		handler := consume.Each(func(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
			reached <- true
			select {
			case <-proceed:
			case <-ctx.Done():
				return ctx.Err()
			}
			_, err := tx.Exec(ctx, "insert into done values ($1)", e.Data)
			return err
		})
		run := func(ctx context.Context) error {
			return consume.Run(runners.WithHardStop(ctx, hard), w.config(), handler)
		}
		w.insert("a")
		w.tick()
		w.insert("b")
		w.tick()
		stop, ended := start(t, t.Context(), run)
		<-reached
		stop()
		proceed <- true
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if got := one[string](t, w.target, "select string_agg(data, ' ') from done"); got != "a" {
			t.Errorf("done: %s", got)
		}
		stop, ended = start(t, t.Context(), run)
		<-reached
		stop()
		cut()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("error: %v", err)
		}
		if got := one[string](t, w.target, "select string_agg(data, ' ') from done"); got != "a" {
			t.Errorf("done: %s", got)
		}
	})
}

// A loop is repeated after errors.
func TestLoop(t *testing.T) {
	w := newWorld(t, false)
	w.insert("a", "b")
	w.tick()
	seen, times := make(chan string, 10), 0
	loop := consume.Loop(w.config(), consume.Each(func(_ context.Context, _ *pg.Tx, e *consume.Event) error {
		if times++; times == 2 {
			return errors.New("once")
		}
		seen <- e.Data
		return nil
	}))
	if loop.Name != "consume q/c" {
		t.Errorf("name: %s", loop.Name)
	}
	g := &group.Group{App: "test"}
	stop, ended := start(t, t.Context(), func(ctx context.Context) error { g.Run(ctx, loop); return nil })
	for _, want := range []string{"a", "a", "b"} {
		if got := <-seen; got != want {
			t.Errorf("seen %s; want %s", got, want)
		}
	}
	stop()
	<-ended
}

func TestCollectors(t *testing.T) {
	w := newWorld(t, false)
	w.insert("a", "b")
	w.tick()
	config := w.config()
	drain(t, w.consumer(config, (&notes{}).data()))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(config.Collectors()...)
	other := config
	other.Consumer = "other"
	registry.MustRegister(other.Collectors()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()] += m.GetCounter().GetValue()
		}
	}
	delete(got, "pgq_consumer_lag_seconds") // a gauge
	want := map[string]float64{"pgq_consumer_batches_total": 2, "pgq_consumer_events_total": 4, "pgq_consumer_retried_events_total": 0, "pgq_consumer_errors_total": 0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
