package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skytools-go/skytools/sql/pg"
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

var theLag = shared(measureLag)

func lag(pick func(p50, p99 float64) (float64, float64)) func(context.Context) (float64, float64, string, error) {
	return func(ctx context.Context) (float64, float64, string, error) {
		l, err := theLag(ctx)
		ours, budget := pick(l[0], l[1])
		return ours, budget, "budget", err
	}
}

func measureLag(ctx context.Context) (l [2]float64, err error) {
	p, err := newFollowed(ctx, "lag", "create table public.t (id int8 primary key, write int4, txt text)")
	if err != nil {
		return l, err
	}
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	var all sync.WaitGroup
	failed := make(chan error, 2)
	all.Go(func() { failed <- p.tick(ctx) })
	all.Go(func() { failed <- p.replay(ctx) })
	time.Sleep(time.Second)

	const writes = lagWrites * lagTime
	committed, seen := make([]time.Time, writes), make([]time.Time, writes)
	watched := make(chan error, 1)
	go func() { watched <- watch(ctx, p.leaf, seen) }()
	began := time.Now()
	for n := range writes {
		time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / lagWrites)))
		if _, err := p.root.Exec(ctx, "insert into t select $1::int8 * 10 + i, $1, 'text of row ' || i from generate_series(0, $2::int4 - 1) i", int64(n), int32(lagRows)); err != nil {
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
