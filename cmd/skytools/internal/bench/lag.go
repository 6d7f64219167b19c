package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/tick"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqcoop"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// lagFigures say how long a row takes from its commit on the root until the subscriber
// shows it, while 5,000 rows a second are written, with our ticker on a queue that wants
// a tick every 50 ms.
var lagFigures = []figure{
	{name: "replay-lag-p50", unit: "ms", target: 1, run: lag(func(p50, _ float64) (float64, float64) { return p50, 100 })},
	{name: "replay-lag-p99", unit: "ms", target: 1, run: lag(func(_, p99 float64) (float64, float64) { return p99, 200 })},
}

const (
	lagWrites = 500 // transactions a second
	lagRows   = 10  // in each
	lagTime   = 10  // seconds
)

var theLag = sync.OnceValues(func() ([2]float64, error) { return measureLag(context.Background()) })

func lag(pick func(p50, p99 float64) (float64, float64)) func(context.Context) (float64, float64, string, error) {
	return func(context.Context) (float64, float64, string, error) {
		l, err := theLag()
		ours, budget := pick(l[0], l[1])
		return ours, budget, "budget", err
	}
}

func measureLag(ctx context.Context) (l [2]float64, err error) {
	s, err := onReplica()
	if err != nil {
		return l, err
	}
	schemas := install(pgq.Schema, pgqcoop.Schema, pgqnode.Schema, londiste.Schema)
	const table = "; create table public.t (id int8 primary key, write int4, txt text)"
	at := func(name string) string { return sql.Literal(s.DSN(name)) }
	root, err := database(ctx, s, "lag", schemas+table+fmt.Sprintf(`;
		select pgq_node.register_location('shop', 'root', %[1]s, false), pgq_node.register_location('shop', 'leaf', %[2]s, false),
		       pgq_node.create_node('shop', 'root', 'root', 'root', null, null, null);
		select pgq.set_queue_config('shop', 'ticker_max_lag', '50 ms');
		select pgq_node.register_subscriber('shop', 'leaf', 'leaf', null);
		select londiste.local_add_table('shop', 'public.t');
		select pgq.create_capture('shop', 'public.t', '_londiste_shop', '{}')`, at("lag"), at("lag_leaf")))
	if err != nil {
		return l, err
	}
	begin, err := pg.One[int64](ctx, root, "select last_tick from pgq.get_consumer_info('shop', 'leaf')")
	if err != nil {
		return l, err
	}
	leaf, err := database(ctx, s, "lag_leaf", schemas+table+fmt.Sprintf(`;
		select pgq_node.register_location('shop', 'root', %[1]s, false), pgq_node.register_location('shop', 'leaf', %[2]s, false),
		       pgq_node.create_node('shop', 'leaf', 'leaf', 'leaf', 'root', %[3]d, null);
		select londiste.global_add_table('shop', 'public.t');
		select londiste.local_add_table('shop', 'public.t', array['expect_sync'])`, at("lag"), at("lag_leaf"), begin))
	if err != nil {
		return l, err
	}
	dsn := func(name string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return s.DSN(name), nil }
	}
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	var all sync.WaitGroup
	failed := make(chan error, 2)
	all.Go(func() { failed <- tick.New(tick.Config{DSN: dsn("lag")}).Run(ctx) })
	all.Go(func() { failed <- cascade.New(cascade.Config{Queue: "shop", DSN: dsn("lag_leaf")}).Run(ctx) })
	time.Sleep(time.Second)

	const writes = lagWrites * lagTime
	committed, seen := make([]time.Time, writes), make([]time.Time, writes)
	watched := make(chan error, 1)
	go func() { watched <- watch(ctx, leaf, seen) }()
	began := time.Now()
	for n := range writes {
		time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / lagWrites)))
		if _, err := root.Exec(ctx, "insert into t select $1::int8 * 10 + i, $1, 'text of row ' || i from generate_series(0, $2::int4 - 1) i", int64(n), int32(lagRows)); err != nil {
			return l, err
		}
		committed[n] = time.Now()
	}
	err = <-watched
	stop()
	all.Wait()
	for range 2 {
		if failed := <-failed; failed != nil {
			return l, failed
		}
	}
	if err != nil {
		return l, err
	}
	var waited []float64
	for n := range writes {
		waited = append(waited, max(0, float64(seen[n].Sub(committed[n]).Microseconds())/1000))
	}
	slices.Sort(waited)
	return [2]float64{waited[writes/2], waited[writes*99/100]}, nil
}

// watch notes when each write is seen on the subscriber first.
func watch(ctx context.Context, conn *pg.Conn, seen []time.Time) error {
	for next := 0; next < len(seen); {
		newest, err := pg.One[int64](ctx, conn, "select coalesce(max(id), -10) / 10 from t")
		if err != nil {
			return fmt.Errorf("wait for write %d of %d: %w", next, len(seen), err)
		}
		now := time.Now()
		for ; int64(next) <= newest; next++ {
			seen[next] = now
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}
