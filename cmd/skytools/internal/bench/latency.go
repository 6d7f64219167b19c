package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/runners/tick"
	"github.com/skytools-go/skytools/sql/pg"
)

// latencyFigures say how long an event takes from its commit to its consumer, at 1,000
// events a second: with our ticker on a queue that wants ticks every 5 ms, and beside
// it what pgqd makes of a queue as it comes.
var latencyFigures = []figure{
	{name: "latency-p50", unit: "ms", target: 1, run: lateness(func(l latency) (float64, float64) { return l.ours50, 10 }, "budget")},
	{name: "latency-p99", unit: "ms", target: 1, run: lateness(func(l latency) (float64, float64) { return l.ours99, 50 }, "budget")},
	{name: "latency-p50-vs-pgqd", unit: "ms", target: 1, run: lateness(func(l latency) (float64, float64) { return l.ours50, l.pgqd50 }, "pgqd and queue as they come, same consumer")},
	{name: "latency-p99-vs-pgqd", unit: "ms", target: 1, run: lateness(func(l latency) (float64, float64) { return l.ours99, l.pgqd99 }, "pgqd and queue as they come, same consumer")},
}

type latency struct{ ours50, ours99, pgqd50, pgqd99 float64 }

func lateness(pick func(latency) (float64, float64), what string) func(context.Context) (float64, float64, string, error) {
	return func(ctx context.Context) (float64, float64, string, error) {
		l, err := measuredLatency(ctx)
		ours, peer := pick(l)
		return ours, peer, what, err
	}
}

var (
	latencyOnce sync.Once
	theLatency  latency
	latencyErr  error
)

func measuredLatency(ctx context.Context) (latency, error) {
	latencyOnce.Do(func() { latencyErr = theLatency.measure(ctx) })
	return theLatency, latencyErr
}

func (l *latency) measure(ctx context.Context) error {
	p, err := onPair(ctx)
	if err != nil {
		return err
	}
	if err := p.withQueue(ctx); err != nil {
		return err
	}
	if err := p.ours.Script(ctx, "select pgq.set_queue_config('q', 'ticker_max_lag', '5 ms')"); err != nil {
		return err
	}
	dsn := func(context.Context) (string, error) { return p.server.DSN("ours"), nil }
	if l.ours50, l.ours99, err = flow(ctx, p.ours, p.server.DSN("ours"), func(ctx context.Context) error { return tick.New(tick.Config{DSN: dsn}).Run(ctx) }); err != nil {
		return fmt.Errorf("our ticker: %w", err)
	}
	if l.pgqd50, l.pgqd99, err = flow(ctx, p.theirs, p.server.DSN("theirs"), p.pgqd); err != nil {
		return fmt.Errorf("pgqd: %w", err)
	}
	return nil
}

// pgqd runs the original's ticker on the database theirs, with its own defaults.
func (p *pair) pgqd(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "skytools-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ini := filepath.Join(dir, "pgqd.ini")
	config := fmt.Sprintf("[pgqd]\nbase_connstr = host=%s port=%d user=postgres\ndatabase_list = theirs\nsyslog = 0\nlogfile = %s\n", p.server.Dir, p.server.Port, filepath.Join(dir, "log"))
	if err := os.WriteFile(ini, []byte(config), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "pgqd", "-q", ini)
	err = cmd.Run()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("pgqd ended: %w (the peer is Debian's package pgqd)", err)
}

const (
	flowRate = 1000 // events a second
	flowTime = 8    // seconds
)

// flow writes events, each in a transaction of its own, and has a consumer read them. It
// answers with the median and the 99th percentile of the milliseconds in between.
func flow(ctx context.Context, writer *pg.Conn, dsn string, ticker func(context.Context) error) (p50, p99 float64, err error) {
	ctx, stop := context.WithTimeout(ctx, 60*time.Second)
	defer stop()
	if err := writer.Script(ctx, "select pgq.register_consumer('q', 'late')"); err != nil {
		return 0, 0, err
	}
	const events = flowRate * flowTime
	committed, seen := make([]time.Time, events), make([]time.Time, events)
	left := events
	c := consume.New(consume.Config{
		Queue: "q", Consumer: "late", DSN: func(context.Context) (string, error) { return dsn, nil }, Poll: 100 * time.Millisecond,
	}, consume.Each(func(_ context.Context, _ *pg.Tx, e *consume.Event) error {
		n, err := strconv.Atoi(e.Data)
		if err != nil {
			return err
		}
		seen[n] = time.Now()
		if left--; left == 0 {
			stop()
		}
		return nil
	}))
	defer c.Close()
	var all sync.WaitGroup
	failed := make(chan error, 3)
	all.Go(func() { failed <- ticker(ctx) })
	all.Go(func() { failed <- c.Run(ctx) })
	time.Sleep(time.Second)
	began := time.Now()
	for n := range events {
		time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / flowRate)))
		if _, err := writer.Exec(ctx, "select pgq.insert_event('q', 't', $1)", strconv.Itoa(n)); err != nil {
			stop()
			all.Wait()
			return 0, 0, err
		}
		committed[n] = time.Now()
	}
	all.Wait()
	for range 2 {
		if err := <-failed; err != nil {
			return 0, 0, err
		}
	}
	if left > 0 {
		return 0, 0, fmt.Errorf("%d of %d events did not arrive within a minute", left, events)
	}
	var waited []float64
	for n := range events {
		waited = append(waited, max(0, float64(seen[n].Sub(committed[n]).Microseconds())/1000))
	}
	slices.Sort(waited)
	return waited[events/2], waited[events*99/100], nil
}
